(() => {
  const steps = [...document.querySelectorAll(".step")];
  if (steps.length === 0) return;
  const toolbar = document.querySelector(".toolbar");
  const slider = document.getElementById("slider");
  const where = document.getElementById("where");
  let at = 0;
  document.documentElement.classList.add("js");
  toolbar.hidden = false;
  document.querySelector(".keys").hidden = false;
  const show = (number, asked = true) => {
    at = Math.min(Math.max(number, 0), steps.length - 1);
    steps.forEach((step, index) => step.classList.toggle("shown", index === at));
    slider.value = at + 1;
    const title = steps[at].querySelector("h2").textContent;
    slider.setAttribute("aria-valuetext", title);
    where.textContent = title;
    for (const button of toolbar.querySelectorAll("button")) {
      const go = button.dataset.go;
      button.disabled = (at === 0 && (go === "first" || go === "back"))
        || (at === steps.length - 1 && (go === "last" || go === "on"));
    }
    // Not on opening: a page is not scrolled past its head by its own address.
    if (asked) history.replaceState(null, "", "#step-" + (at + 1));
  };
  const moves = { first: () => 0, back: () => at - 1, on: () => at + 1, last: () => steps.length - 1 };
  toolbar.addEventListener("click", (event) => {
    const go = event.target.closest("button")?.dataset.go;
    if (go) show(go in moves ? moves[go]() : Number(go) - 1);
  });
  slider.addEventListener("input", () => show(Number(slider.value) - 1));
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || event.target === slider) return;
    const go = { ArrowLeft: "back", ArrowRight: "on", Home: "first", End: "last" }[event.key];
    if (!go) return;
    event.preventDefault();
    show(moves[go]());
  });
  const fromHash = () => Number(location.hash.replace("#step-", "")) - 1;
  window.addEventListener("hashchange", () => show(fromHash() || 0));
  show(fromHash() || 0, false);
})();

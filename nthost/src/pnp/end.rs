//! The end of a run: everything is taken down, and leaks are looked for.

use std::sync::atomic::Ordering;

use super::{Driver, Node, load};
use crate::RuleId;
use crate::machine::{Kernel, context};
use crate::verifier::{Report, Violation, broken};
use crate::wdf::object::Kind;

/// Removes a driver's devices, then unloads it, and looks for what it left behind if no other
/// driver is loaded that could own it.
pub(super) fn unload(kernel: &Kernel, driver: Driver) {
    let framework = kernel.pnp.framework_of(driver);
    let mut stuck = false;
    for node in nodes(kernel) {
        if framework.is_some() && node.driver.get() == framework {
            stuck |= !take_down(kernel, &node);
        }
    }
    // A driver with a device that cannot go stays loaded.
    if !stuck {
        load::unload(kernel, driver);
    }
    if stuck || kernel.pnp.loaded().is_empty() {
        check(kernel);
    }
}

fn nodes(kernel: &Kernel) -> Vec<std::sync::Arc<Node>> {
    kernel.pnp.nodes.lock().iter().flatten().cloned().collect()
}

/// Removes one device; `false` if it cannot go.
fn take_down(kernel: &Kernel, node: &Node) -> bool {
    let is_closed = || node.handles.load(Ordering::Acquire) == 0;
    kernel.wait(super::patience(kernel), is_closed);
    node.begin(kernel);
    let closed = node.refuse_handles();
    // With open handles PnP would wait for ever.
    if closed {
        node.remove_device(kernel);
    }
    node.end(kernel);
    closed
}

/// Takes everything down and stops the machine at the first leak.
pub(super) fn shut_down(kernel: &Kernel) {
    // What is on its way, a removal after a failure for instance, comes first.
    kernel.wait(super::patience(kernel), || nodes(kernel).iter().all(|node| node.is_quiet()));
    for driver in kernel.pnp.loaded() {
        unload(kernel, driver);
    }
    check(kernel);
}

/// Stops the machine at the first leak, unless it is what a driver rightly abandoned.
fn check(kernel: &Kernel) {
    // What a worker is about to give back is no leak.
    kernel.finish_work(super::patience(kernel));
    if let Err(violation) = kernel.hal.settle(kernel) {
        kernel.stop(violation);
    }
    let Some(leak) = first_leak(kernel) else { return };
    if let Some(node) = nodes(kernel).into_iter().find(|node| never_stopped(kernel, node)) {
        let report = outcome(kernel, &node);
        let mut outcomes = kernel.pnp.outcomes.lock();
        if outcomes.iter().all(|known| known.message != report.message) {
            outcomes.push(report);
        }
        return;
    }
    kernel.stop(leak);
}

/// The first thing that should be gone and is not.
fn first_leak(kernel: &Kernel) -> Option<Violation> {
    let survivors = kernel.wdf.survivors();
    let requests = survivors.iter().filter(|(kind, _)| *kind == Kind::Request).count();
    if requests != 0 {
        let message = format!("{requests} requests were never completed");
        return Some(broken(RuleId::Sim04, message));
    }
    if let Some(node) = nodes(kernel).iter().find(|n| n.handles.load(Ordering::Acquire) != 0) {
        let message =
            format!("a file on the device in slot {} was never closed", node.function.index);
        return Some(broken(RuleId::Sim04, message));
    }
    if let Some((kind, origin)) = survivors.into_iter().next() {
        let message = format!("a {} still exists after its driver was unloaded", kind.name());
        return Some(broken(RuleId::Kmdf42, message).from(origin));
    }
    let windows = kernel.bus.mapped();
    if windows != 0 {
        let message = format!("{windows} register windows are still mapped");
        return Some(broken(RuleId::Kmdf04, message));
    }
    adapter_leak(kernel).or_else(|| kernel.memory.leaks())
}

fn adapter_leak(kernel: &Kernel) -> Option<Violation> {
    kernel.hal.check_released(None).into_iter().next()
}

/// Whether the driver gave this device up and the device still runs: what the driver keeps, it
/// rightly keeps.
pub(super) fn never_stopped(kernel: &Kernel, node: &Node) -> bool {
    let given_up = node.given_up.load(Ordering::Acquire);
    // A running engine has a deadline, or at least what its driver keeps for it at the HAL. What
    // other devices do does not count.
    let keeps = || !kernel.hal.check_released(Some(node.function.index)).is_empty();
    let runs = || node.function.is_active(&kernel.bus) || keeps();
    given_up && node.function.is_present() && runs()
}

fn outcome(kernel: &Kernel, node: &Node) -> Report {
    let message = format!(
        "the device in slot {} never stopped; its driver abandoned what it may still write to",
        node.function.index
    );
    Report {
        rule: RuleId::Sim05,
        message,
        bug_check: None,
        call: "shut_down",
        stack: context::stack(),
        origin: None,
        event: kernel.events.load(Ordering::Relaxed),
        seed: kernel.options.seed,
        choices: None,
        count: 1,
        harmless: true,
    }
}

//! Carries a plan out.

use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::{Calls, Deed, Forgery, Sabotage, Word};
use crate::ddi::functions::{self, Function};
use crate::machine::Kernel;

/// The plan of one machine, and how far it has come.
#[derive(Debug)]
pub(crate) struct Saboteur {
    plan: Vec<(Sabotage, &'static Function)>,
    /// Arguments to remember, by name.
    remembered: Vec<&'static str>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls of the functions of the plan so far, in its order.
    calls: Vec<u64>,
    /// For each call that was spoiled, the crossings before it.
    spoiled: Vec<u64>,
    /// The latest values, the newest last.
    values: Vec<Value>,
    /// Calls that wait: until this function was called.
    late: Vec<(&'static str, &'static Function, Vec<Word>)>,
    /// Calls that were made too early and that the driver has yet to make.
    early: Vec<&'static str>,
}

/// What an argument was at the last call of a function.
#[derive(Clone, Copy, Debug)]
struct Value {
    function: &'static str,
    argument: &'static str,
    word: Word,
    /// Whether no call was made from it yet.
    fresh: bool,
}

/// What becomes of one call.
#[derive(Clone, Copy, Debug, Default)]
struct Decision {
    unmade: bool,
    twice: bool,
    /// An argument whose number goes in changed.
    target: Option<(Word, i64)>,
    answer: Option<Forgery>,
}

impl Saboteur {
    /// Carries out `plan`; `None` for an empty one.
    ///
    /// # Panics
    /// If a name in the plan is none of a function or of one of its arguments, or a driver could
    /// not go on without the call.
    pub(crate) fn new(plan: &[Sabotage]) -> Option<Self> {
        let plan: Vec<_> = plan.iter().map(|&sabotage| (sabotage, check(sabotage))).collect();
        let mut remembered = Vec::new();
        for (sabotage, function) in &plan {
            match sabotage.deed {
                Deed::Hasten(_) => remembered.extend(function.arguments),
                Deed::Falsify(_, Forgery::Of(_, argument)) => remembered.push(argument),
                _ => {}
            }
        }
        let state = State { calls: vec![0; plan.len()], ..State::default() };
        (!plan.is_empty()).then(|| Self { plan, remembered, state: Mutex::new(state) })
    }

    /// For each call that was spoiled so far, the crossings before it.
    pub(crate) fn spoiled(&self) -> Vec<u64> {
        self.state.lock().spoiled.clone()
    }

    /// A call of the driver's on its way to the host, from this frame.
    #[cold]
    pub(crate) fn cross(
        &self,
        kernel: &Kernel,
        frame: usize,
        function: &'static Function,
        mut words: Vec<Word>,
    ) -> Word {
        let crossings = kernel.events.load(Ordering::Relaxed);
        let decision = self.decide(crossings, function, &mut words);
        let unmade = || Word::bare(function.unmade.unwrap_or_default());
        let mut answer = if decision.unmade {
            unmade()
        } else {
            if let Some((word, more)) = decision.target {
                word.add_to_target(more);
            }
            let answer = (function.call)(kernel, frame, &words);
            if decision.twice {
                (function.call)(kernel, frame, &words);
            }
            if let Some((word, more)) = decision.target {
                word.add_to_target(-more);
            }
            answer
        };
        if let Some(forgery) = decision.answer {
            answer = forge(answer, forgery, &[]);
        }
        self.heard(function.ddi.name, function.arguments, &words);
        self.follow(kernel, frame, function.ddi.name);
        answer
    }

    /// Remembers the arguments of a call, or of a callback, that a plan asks for.
    pub(crate) fn heard(&self, function: &'static str, names: &[&'static str], words: &[Word]) {
        if self.remembered.is_empty() {
            return;
        }
        let values = &mut self.state.lock().values;
        for (&argument, &word) in names.iter().zip(words) {
            if self.remembered.contains(&argument) {
                values.retain(|value| (value.function, value.argument) != (function, argument));
                // Later the number may be gone.
                values.push(Value { function, argument, word: word.followed(), fresh: true });
            }
        }
    }

    /// What becomes of a call of the driver's; changes its arguments.
    fn decide(&self, crossings: u64, function: &'static Function, words: &mut [Word]) -> Decision {
        let mut state = self.state.lock();
        let mut decision = Decision::default();
        for (at, &(sabotage, spoiled)) in self.plan.iter().enumerate() {
            if !std::ptr::eq(spoiled, function) {
                continue;
            }
            state.calls[at] += 1;
            let meant = match sabotage.calls {
                Calls::Every => true,
                Calls::Nth(number) => state.calls[at] == number,
            };
            if meant && state.apply(sabotage.deed, function, words, &mut decision) {
                state.spoiled.push(crossings);
            }
        }
        decision
    }

    /// Makes the calls that were to be made after this one.
    fn follow(&self, kernel: &Kernel, frame: usize, after: &'static str) {
        let due = {
            let mut state = self.state.lock();
            let mut due = Vec::new();
            state.late.retain(|(until, function, words)| {
                let is_due = *until == after;
                if is_due {
                    due.push((*function, words.clone()));
                }
                !is_due
            });
            for &(sabotage, function) in &self.plan {
                if sabotage.deed == Deed::Hasten(after) {
                    let early = state.hasten(function).map(|words| (function, words));
                    if early.is_some() {
                        state.spoiled.push(kernel.events.load(Ordering::Relaxed));
                    }
                    due.extend(early);
                }
            }
            due
        };
        for (function, words) in due {
            (function.call)(kernel, frame, &words);
        }
    }
}

impl State {
    /// Does it to a call; whether that counts as one more.
    fn apply(
        &mut self,
        deed: Deed,
        function: &'static Function,
        words: &mut [Word],
        decision: &mut Decision,
    ) -> bool {
        match deed {
            Deed::LeaveOut => decision.unmade = true,
            Deed::Repeat => decision.twice = true,
            Deed::Misreport(forgery) => decision.answer = Some(forgery),
            Deed::Falsify(argument, forgery) => {
                let at = function.argument(argument).expect("checked when the plan was made");
                match forgery {
                    Forgery::AddToTarget(more) => decision.target = Some((words[at], more)),
                    _ => words[at] = forge(words[at], forgery, &self.values),
                }
            }
            Deed::PutOff(until) => {
                decision.unmade = true;
                self.late.push((until, function, words.to_vec()));
            }
            Deed::Hasten(_) => {
                let name = function.ddi.name;
                let Some(at) = self.early.iter().position(|&early| early == name) else {
                    self.use_up(function);
                    return false;
                };
                self.early.swap_remove(at);
                decision.unmade = true;
                // It was counted when it was made.
                return false;
            }
        }
        true
    }

    /// The arguments of a call that is made before the driver makes it: the newest values of their
    /// names. `None` if one is not known since the last such call.
    fn hasten(&mut self, function: &'static Function) -> Option<Vec<Word>> {
        let newest = |name: &&str| {
            let found =
                self.values.iter().rev().find(|value| value.argument == *name && value.fresh);
            found.map(|value| value.word)
        };
        let words: Vec<Word> = function.arguments.iter().map(newest).collect::<Option<_>>()?;
        self.use_up(function);
        self.early.push(function.ddi.name);
        Some(words)
    }

    /// A call was made from the latest values.
    fn use_up(&mut self, function: &Function) {
        for value in &mut self.values {
            value.fresh &= !function.arguments.contains(&value.argument);
        }
    }
}

fn forge(word: Word, forgery: Forgery, values: &[Value]) -> Word {
    match forgery {
        Forgery::Add(more) => word.plus(more),
        Forgery::Invert => word.with_number(u64::from(word.number() == 0)),
        Forgery::Set(number) => word.with_number(number),
        Forgery::AddToTarget(_) => word,
        Forgery::Of(function, argument) => values
            .iter()
            .find(|value| (value.function, value.argument) == (function, argument))
            .map_or(word, |value| value.word),
    }
}

/// The function of a plan, with everything it names looked up.
fn check(sabotage: Sabotage) -> &'static Function {
    let find = |name: &str| {
        functions::all()
            .find(|function| function.ddi.name == name)
            .unwrap_or_else(|| panic!("{sabotage}: no function is called {name}"))
    };
    let function = find(sabotage.function);
    match sabotage.deed {
        Deed::LeaveOut | Deed::PutOff(_) | Deed::Hasten(_) => assert!(
            function.unmade.is_some(),
            "{sabotage}: a driver cannot go on without what this function answers"
        ),
        Deed::Falsify(argument, _) => assert!(
            function.argument(argument).is_some(),
            "{sabotage}: the function has no argument {argument}"
        ),
        Deed::Misreport(_) | Deed::Repeat => {}
    }
    if let Deed::PutOff(other) | Deed::Hasten(other) = sabotage.deed {
        find(other);
    }
    if let Deed::Falsify(_, Forgery::Of(other, argument)) = sabotage.deed {
        assert!(
            find(other).argument(argument).is_some(),
            "{sabotage}: {other} has no argument {argument}"
        );
    }
    function
}

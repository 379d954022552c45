//! Driving a machine: the loop that lets one task after the other run, and its end.

use std::any::Any;

use super::coroutine::CoroutineResult;
use super::moves::Action;
use super::segment::{Command, Ended, Segment, Suspended};
use super::{Scheduler, World};
use crate::machine::context;

/// How a drive of the machine ended.
pub(crate) enum Drive {
    /// What it was driven for has happened.
    Done,
    /// A rule was broken; everything is unwound.
    Stopped,
    /// The policy gave the run up; everything is unwound.
    GivenUp,
    /// An action of a test, or the host itself, panicked.
    Panicked(Box<dyn Any + Send>),
}

impl Scheduler {
    /// Lets the machine run until `done`.
    pub(crate) fn drive(&self, world: &dyn World, done: &dyn Fn() -> bool) -> Drive {
        self.check_home();
        let outer = context::save();
        let end = self.drive_inside(world, done);
        context::restore(outer);
        end
    }

    fn drive_inside(&self, world: &dyn World, done: &dyn Fn() -> bool) -> Drive {
        let mut ended = true;
        loop {
            if self.given_up.get() {
                self.abandon(world);
                return Drive::GivenUp;
            }
            if world.is_stopped() {
                self.abandon(world);
                return Drive::Stopped;
            }
            if ended {
                let panicked = self.inner.borrow_mut().panicked.take();
                if let Some(payload) = panicked {
                    self.abandon(world);
                    return Drive::Panicked(payload);
                }
                if done() && self.inner.borrow().detached == 0 {
                    return Drive::Done;
                }
            }
            let Some(action) = self.next.take().or_else(|| self.decide(world, None)) else {
                continue;
            };
            let task = match action {
                Action::Resume(task) => Some(task),
                other => world.begin(other),
            };
            ended = task.is_some_and(|task| self.resume(world, task));
        }
    }

    /// Lets a task go on until its next point; whether it has ended.
    fn resume(&self, world: &dyn World, index: usize) -> bool {
        let (mut top, saved) = {
            let inner = &mut *self.inner.borrow_mut();
            let task = inner.task(index);
            (task.segments.pop().expect("a live task has a segment"), task.context)
        };
        self.current.set(index);
        context::restore(saved);
        self.touch(context::footprint());
        self.suspender.set(top.suspender);
        let mut result = top.resume(Command::Go);
        top.suspender = self.suspender.get();
        // Calls of the driver and returns from them are part of the same move.
        loop {
            match result {
                CoroutineResult::Yield(Suspended::Call(call)) => {
                    self.inner.borrow_mut().task(index).segments.push(top);
                    top = Segment::call(self.starter(), call);
                }
                CoroutineResult::Yield(why) => {
                    let inner = &mut *self.inner.borrow_mut();
                    let task = inner.task(index);
                    task.context = context::save();
                    // What is unwound already is forgotten; the rest goes when all go.
                    match why {
                        Suspended::Unwound | Suspended::Stuck => top.end(),
                        _ => task.segments.push(top),
                    }
                    return false;
                }
                CoroutineResult::Return(ended) => {
                    top.end();
                    let outer = self.inner.borrow_mut().task(index).segments.pop();
                    match (ended, outer) {
                        (Ended::Returned, Some(outer)) => top = outer,
                        (ended, outer) => {
                            self.inner.borrow_mut().task(index).segments.extend(outer);
                            self.ended(world, index, ended);
                            return true;
                        }
                    }
                }
            }
            self.suspender.set(top.suspender);
            result = top.resume(Command::Go);
            top.suspender = self.suspender.get();
        }
    }

    /// A task's last segment has ended, or one of them badly.
    fn ended(&self, world: &dyn World, index: usize, ended: Ended) {
        let left = {
            let inner = &mut *self.inner.borrow_mut();
            if let Ended::Panicked(payload) = ended {
                inner.panicked.get_or_insert(payload);
            }
            if world.is_stopped() || inner.panicked.is_some() {
                // What is left of it is unwound with the rest.
                return;
            }
            let Some(mut task) = inner.tasks[index].take() else { return };
            debug_assert!(task.segments.is_empty());
            inner.detached -= usize::from(task.detached);
            inner.spare.push(std::mem::take(&mut task.segments));
            let processor = task.processor.inspect(|&processor| {
                inner.processors[processor].pop();
            });
            processor.filter(|&processor| inner.processors[processor].is_empty())
        };
        if let Some(processor) = left {
            world.left(processor);
        }
    }

    /// Stops the machine and unwinds all tasks.
    pub(in crate::machine) fn abandon(&self, world: &dyn World) {
        world.halt();
        let outer = context::save();
        loop {
            let task = {
                let inner = &mut *self.inner.borrow_mut();
                inner.tasks.iter_mut().enumerate().find_map(|(i, task)| Some((i, task.take()?)))
            };
            let Some((index, mut task)) = task else { break };
            self.current.set(index);
            context::restore(task.context);
            while let Some(mut segment) = task.segments.pop() {
                self.suspender.set(segment.suspender);
                let started = !segment.suspender.is_null();
                if started {
                    let _ = segment.resume(Command::Abandon);
                }
                segment.end();
            }
        }
        let inner = &mut *self.inner.borrow_mut();
        inner.processors.iter_mut().for_each(Vec::clear);
        inner.detached = 0;
        context::restore(outer);
    }
}

//! Declares the arguments of a command only if a command line names that command.
//!
//! The arguments of all commands take more time and memory than a knock.

use std::cell::Cell;

use clap::builder::Resettable;
use clap::{ArgMatches, Args, Command, CommandFactory, Error, FromArgMatches};

thread_local! {
    static IS_WHOLE: Cell<bool> = const { Cell::new(false) };
}

/// The command line with the arguments of all commands, for help pages and completions.
pub(super) fn whole<T: CommandFactory>() -> Command {
    let before = IS_WHOLE.replace(true);
    let command = T::command();
    IS_WHOLE.set(before);
    command
}

/// The arguments of one command.
#[derive(Debug)]
pub(super) struct Deferred<T>(pub(super) T);

impl<T: Args> Args for Deferred<T> {
    fn augment_args(command: Command) -> Command {
        if IS_WHOLE.get() {
            return T::augment_args(command);
        }
        command.defer(declared::<T>)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

/// Keeps the command's own words, in place of those of a group of arguments.
fn declared<T: Args>(command: Command) -> Command {
    let short = Resettable::from(command.get_about().cloned());
    let long = Resettable::from(command.get_long_about().cloned());
    T::augment_args(command).about(short).long_about(long)
}

impl<T: FromArgMatches> FromArgMatches for Deferred<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches(matches).map(Self)
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, Error> {
        T::from_arg_matches_mut(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        self.0.update_from_arg_matches(matches)
    }
}

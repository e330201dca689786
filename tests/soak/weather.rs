//! What happens around the program while it is under load, one thing after the other.

use crate::Soak;
use crate::world::Mood;
use std::thread::sleep;
use std::time::Duration;

/// One thing that happens. What goes wrong is well again when it is over.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    /// Controllers are killed, and started again.
    Kill(&'static [usize]),
    /// They go wrong in another way.
    Turn(&'static [usize], Mood),
    /// A signal, with nothing new.
    Signal,
    /// Another configuration and phonebook.
    Reload,
    /// Another certificate.
    Certify,
}

/// Nothing goes wrong.
pub(crate) const FAIR: &[Change] = &[Change::Reload, Change::Certify, Change::Signal];

/// Everything does.
pub(crate) const FOUL: &[Change] = &[
    Change::Kill(&[0]),
    Change::Certify,
    Change::Turn(&[1], Mood::Breaks),
    Change::Reload,
    Change::Kill(&[0, 1]),
    Change::Signal,
    Change::Turn(&[0], Mood::Busy),
    Change::Reload,
    Change::Kill(&[1]),
    Change::Turn(&[1], Mood::Mute),
    Change::Turn(&[0, 1], Mood::Mute),
    Change::Reload,
];

impl Change {
    /// Lets it happen, for so long where it is something that lasts, and waits until all is well again.
    pub(crate) fn happen(self, soak: &Soak, lasts: Duration) {
        let world = &soak.around.world;
        match self {
            Self::Kill(who) => {
                world.kill(who);
                sleep(lasts);
                world.restart(who);
            }
            Self::Turn(who, mood) => {
                world.turn(who, mood);
                sleep(lasts);
                world.turn(who, Mood::Well);
                if mood == Mood::Mute {
                    // What it was asked meanwhile it will never answer: it hung, and is started again.
                    world.kill(who);
                    world.restart(who);
                }
            }
            Self::Signal => soak.signal(),
            Self::Reload => soak.reload(),
            Self::Certify => {
                soak.site.certify();
                soak.signal();
            }
        }
        soak.until_up();
    }
}

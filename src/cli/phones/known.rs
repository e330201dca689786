//! A right answer as octets. The same octets under another messageID are the same answer, which is seen by comparing them and nothing else.

/// An answer that has been looked at in full.
#[derive(Debug)]
pub(super) struct Known {
    octets: Box<[u8]>,
    /// Where its messageIDs stand, one octet each.
    ids: Box<[usize]>,
    entries: u32,
}

/// An answer while it arrives, as long as it may become one to compare with.
#[derive(Debug, Default)]
pub(super) struct Recording {
    octets: Vec<u8>,
    ids: Vec<usize>,
}

impl Known {
    /// Whether `received` begins with this answer under that messageID.
    pub(super) fn is_front_of(&self, received: &[u8], message_id: u8) -> bool {
        let Some(answer) = received.get(..self.octets.len()) else { return false };
        let mut behind = 0;
        self.ids.iter().all(|&id| {
            let is_same = answer.get(behind..id) == self.octets.get(behind..id) && answer.get(id) == Some(&message_id);
            behind = id + 1;
            is_same
        }) && answer.get(behind..) == self.octets.get(behind..)
    }

    /// Octets.
    pub(super) const fn len(&self) -> usize {
        self.octets.len()
    }

    /// Search results.
    pub(super) const fn entries(&self) -> u32 {
        self.entries
    }
}

impl Recording {
    /// The next message, and where its messageID stands; `None` where that takes more than one octet. `None` when it cannot become
    /// one to compare with any more.
    pub(super) fn with(mut self, frame: &[u8], id_at: Option<usize>) -> Option<Self> {
        let id_at = id_at.filter(|_| self.octets.len() + frame.len() <= LONGEST)?;
        self.ids.push(self.octets.len() + id_at);
        self.octets.extend_from_slice(frame);
        Some(self)
    }

    /// The answer is complete, and right.
    pub(super) fn finish(self, entries: u32) -> Known {
        Known { octets: self.octets.into(), ids: self.ids.into(), entries }
    }
}

/// What one read brings; the swarm keeps as much for each question.
pub(super) const LONGEST: usize = 8 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let recording = Recording::default().with(b"0\x03\x02\x01\x07", Some(4)).unwrap();
        recording.with(b"0\x05\x02\x01\x07e\x00", Some(4)).unwrap().finish(1)
    }

    #[test]
    fn the_same_octets_under_another_message_id_are_the_same_answer() {
        let known = known();
        assert!(known.is_front_of(b"0\x03\x02\x01\x090\x05\x02\x01\x09e\x00", 9));
        assert!(known.is_front_of(b"0\x03\x02\x01\x090\x05\x02\x01\x09e\x00and more", 9));
        assert_eq!((known.len(), known.entries()), (12, 1));
    }

    #[test]
    fn any_other_octet_makes_another_answer() {
        let right = b"0\x03\x02\x01\x090\x05\x02\x01\x09e\x00";
        for place in 0..right.len() {
            let mut wrong = right.to_vec();
            wrong[place] ^= 1;
            assert!(!known().is_front_of(&wrong, 9), "{place}");
            assert!(!known().is_front_of(&right[..place], 9), "{place}");
        }
        assert!(!known().is_front_of(right, 8));
    }

    #[test]
    fn what_is_long_or_counts_far_is_not_kept() {
        assert!(Recording::default().with(b"0", None).is_none());
        let half = vec![0; LONGEST / 2 + 1];
        assert!(Recording::default().with(&half, Some(4)).unwrap().with(&half, Some(4)).is_none());
    }
}

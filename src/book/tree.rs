//! Who stands below whom: parents, and a numbering in which every subtree is one range.

use std::ops::Range;

/// The tree of a book's entries, by their ids.
#[derive(Debug)]
pub(super) struct Tree {
    /// Each entry's parent; the base entry is its own.
    parents: Box<[u32]>,
    /// Each entry's place in a walk that visits an entry before what is below it.
    places: Box<[u32]>,
    /// How many entries its subtree has, itself included.
    sizes: Box<[u32]>,
}

impl Tree {
    /// Builds the tree. `parents` and `depths` go by id; the base entry is its own parent.
    pub(super) fn new(parents: Vec<u32>, depths: &[usize]) -> Self {
        let mut by_depth: Vec<u32> = (0..).take(parents.len()).collect();
        by_depth.sort_by_key(|id| depths.get(*id as usize));
        let parent = |id: u32| parents.get(id as usize).copied().filter(|parent| *parent != id);
        let mut sizes = vec![1_u32; parents.len()];
        for id in by_depth.iter().rev() {
            let size = at(&sizes, *id);
            if let Some(above) = parent(*id).and_then(|parent| sizes.get_mut(parent as usize)) {
                *above += size;
            }
        }
        let mut places = vec![0; parents.len()];
        // Where the next subtree below each entry begins.
        let mut free = vec![1; parents.len()];
        for id in by_depth {
            let Some(parent) = parent(id) else { continue };
            let place = at(&free, parent);
            set(&mut places, id, place);
            set(&mut free, id, place + 1);
            set(&mut free, parent, place + at(&sizes, id));
        }
        Self { parents: parents.into_boxed_slice(), places: places.into_boxed_slice(), sizes: sizes.into_boxed_slice() }
    }

    /// The entry's place in the walk.
    pub(super) fn place(&self, id: u32) -> u32 {
        at(&self.places, id)
    }

    /// The places of an entry and all below it.
    pub(super) fn subtree(&self, id: u32) -> Range<u32> {
        let place = self.place(id);
        place..place + at(&self.sizes, id)
    }

    /// Is the entry `child` directly below `parent`?
    pub(super) fn is_child(&self, child: u32, parent: u32) -> bool {
        child != parent && self.parents.get(child as usize) == Some(&parent)
    }

    /// The octets that it takes.
    pub(super) fn footprint(&self) -> u64 {
        self.parents.len() as u64 * 12
    }
}

fn at(numbers: &[u32], id: u32) -> u32 {
    numbers.get(id as usize).copied().unwrap_or_default()
}

fn set(numbers: &mut [u32], id: u32, value: u32) {
    if let Some(number) = numbers.get_mut(id as usize) {
        *number = value;
    }
}

#[cfg(test)]
mod tests {
    use super::Tree;

    /// 2 is the base; 0 and 3 are below it, 1 and 4 below 3.
    fn tree() -> Tree {
        Tree::new(vec![2, 3, 2, 2, 3], &[1, 2, 0, 1, 2])
    }

    #[test]
    fn a_subtree_is_one_range_of_places() {
        let tree = tree();
        let below = |id: u32| -> Vec<u32> { (0..5).filter(|other| tree.subtree(id).contains(&tree.place(*other))).collect() };
        assert_eq!(below(2), [0, 1, 2, 3, 4]);
        assert_eq!(below(3), [1, 3, 4]);
        assert_eq!(below(0), [0]);
    }

    #[test]
    fn the_base_is_nobodys_child() {
        let tree = tree();
        let children: Vec<u32> = (0..5).filter(|id| tree.is_child(*id, 2)).collect();
        assert_eq!(children, [0, 3]);
    }
}

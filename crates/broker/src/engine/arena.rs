//! Places for values that are referred to by a number: a number that has been given up never finds its successor.

/// The place of a value in an [`Arena`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Place {
    index: u32,
    generation: u32,
}

/// Values with their places.
#[derive(Debug)]
pub(crate) struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Arena<T> {
    pub(crate) fn insert(&mut self, value: T) -> Place {
        let reused = self.free.pop().and_then(|index| {
            let slot = self.slots.get_mut(index as usize)?;
            Some((index, slot))
        });
        if let Some((index, slot)) = reused {
            slot.value = Some(value);
            let generation = slot.generation;
            return Place { index, generation };
        }
        // Bounded by the number of sessions, which is far from 2^32.
        let index = self.slots.len() as u32;
        self.slots.push(Slot {
            generation: 0,
            value: Some(value),
        });
        Place {
            index,
            generation: 0,
        }
    }

    pub(crate) fn get(&self, at: Place) -> Option<&T> {
        let slot = self.slots.get(at.index as usize)?;
        slot.value
            .as_ref()
            .filter(|_| slot.generation == at.generation)
    }

    pub(crate) fn get_mut(&mut self, at: Place) -> Option<&mut T> {
        let slot = self.slots.get_mut(at.index as usize)?;
        slot.value
            .as_mut()
            .filter(|_| slot.generation == at.generation)
    }

    pub(crate) fn remove(&mut self, at: Place) -> Option<T> {
        let slot = self.slots.get_mut(at.index as usize)?;
        if slot.generation != at.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(at.index);
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Place, &T)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let at = Place {
                index: index as u32,
                generation: slot.generation,
            };
            Some((at, slot.value.as_ref()?))
        })
    }

    pub(crate) fn places(&self) -> Vec<Place> {
        self.iter().map(|(at, _)| at).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_was_given_up_never_finds_its_successor() {
        let mut arena = Arena::default();
        let (a, b) = (arena.insert('a'), arena.insert('b'));
        assert_eq!(arena.remove(a), Some('a'));
        let c = arena.insert('c');
        assert_eq!(arena.get(a), None);
        assert_eq!(arena.remove(a), None);
        assert_eq!((arena.get(b), arena.get(c)), (Some(&'b'), Some(&'c')));
        assert_eq!(arena.places(), [c, b]);
    }
}

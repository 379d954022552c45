//! Lists of a queue's requests: constant time for every step, and no allocation once they have
//! been as long as they get.

use crate::wdf::object::Handle;

/// No neighbour.
const NONE: u32 = u32::MAX;

/// The place of a request in one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(u32);

#[derive(Clone, Copy, Debug)]
struct Node {
    request: Handle,
    previous: u32,
    next: u32,
}

/// A list of requests.
#[derive(Debug)]
pub(in crate::wdf) struct List {
    nodes: Vec<Node>,
    /// Unused nodes.
    free: Vec<u32>,
    first: u32,
    last: u32,
    length: usize,
}

impl Default for List {
    fn default() -> Self {
        Self { nodes: Vec::new(), free: Vec::new(), first: NONE, last: NONE, length: 0 }
    }
}

impl List {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(in crate::wdf) fn push_back(&mut self, request: Handle) -> Token {
        let previous = self.last;
        self.insert(Node { request, previous, next: NONE })
    }

    pub(super) fn push_front(&mut self, request: Handle) -> Token {
        let next = self.first;
        self.insert(Node { request, previous: NONE, next })
    }

    fn insert(&mut self, node: Node) -> Token {
        let index = match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                index
            }
            None => {
                self.nodes.push(node);
                // CAST: fewer requests than the object table has slots.
                (self.nodes.len() - 1) as u32
            }
        };
        *self.after(node.previous) = index;
        *self.before(node.next) = index;
        self.length += 1;
        Token(index)
    }

    pub(super) fn remove(&mut self, token: Token) -> Handle {
        let node = self.nodes[token.0 as usize];
        *self.after(node.previous) = node.next;
        *self.before(node.next) = node.previous;
        self.free.push(token.0);
        self.length -= 1;
        node.request
    }

    /// The link that names what comes after node `index`.
    fn after(&mut self, index: u32) -> &mut u32 {
        self.nodes.get_mut(index as usize).map_or(&mut self.first, |node| &mut node.next)
    }

    /// The link that names what comes before node `index`.
    fn before(&mut self, index: u32) -> &mut u32 {
        self.nodes.get_mut(index as usize).map_or(&mut self.last, |node| &mut node.previous)
    }

    pub(super) fn pop_front(&mut self) -> Option<Handle> {
        let first = self.first()?;
        Some(self.remove(first))
    }

    /// The first place.
    pub(super) fn first(&self) -> Option<Token> {
        (self.first != NONE).then_some(Token(self.first))
    }

    /// The place after this one.
    pub(super) fn next(&self, token: Token) -> Option<Token> {
        let next = self.nodes[token.0 as usize].next;
        (next != NONE).then_some(Token(next))
    }

    /// The request at this place.
    pub(super) fn at(&self, token: Token) -> Handle {
        self.nodes[token.0 as usize].request
    }

    /// The requests in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = Handle> + '_ {
        std::iter::successors(self.first(), |&token| self.next(token)).map(|token| self.at(token))
    }

    pub(super) fn clear(&mut self) {
        self.nodes.clear();
        self.free.clear();
        (self.first, self.last, self.length) = (NONE, NONE, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handle(number: u64) -> Handle {
        Handle::from_bits(number).expect("not zero")
    }

    fn contents(list: &List) -> Vec<u64> {
        list.iter().map(Handle::bits).collect()
    }

    #[test]
    fn requests_leave_from_anywhere() {
        let mut list = List::default();
        let tokens: Vec<_> = (1..=4).map(|n| list.push_back(handle(n))).collect();
        assert_eq!(list.remove(tokens[1]).bits(), 2);
        assert_eq!(list.remove(tokens[3]).bits(), 4);
        assert_eq!(contents(&list), [1, 3]);
        list.push_front(handle(5));
        assert_eq!(contents(&list), [5, 1, 3]);
        assert_eq!(list.len(), 3);
    }

    #[test]
    fn places_are_used_again() {
        let mut list = List::default();
        for round in 1..=100 {
            list.push_back(handle(round));
            assert_eq!(list.pop_front().map(Handle::bits), Some(round));
        }
        assert!(list.is_empty() && list.first().is_none());
        assert_eq!(list.nodes.len(), 1);
    }
}

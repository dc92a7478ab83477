//! A map for few entries.

/// Entries in the order of their keys, one after the other in memory: quicker than a hash for the dozens of nodes and
/// parameters that a layer list has, and far less code.
#[derive(Clone, Debug)]
pub(crate) struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Sorted(Vec::new())
    }
}

impl<K: Ord + Copy, V> Sorted<K, V> {
    fn find(&self, key: K) -> Result<usize, usize> {
        // Keys mostly come in rising order.
        match self.0.last() {
            Some(last) if last.0 < key => Err(self.0.len()),
            _ => self.0.binary_search_by(|e| e.0.cmp(&key)),
        }
    }

    pub(crate) fn get(&self, key: K) -> Option<&V> {
        Some(&self.0[self.find(key).ok()?].1)
    }

    pub(crate) fn has(&self, key: K) -> bool {
        self.find(key).is_ok()
    }

    pub(crate) fn insert(&mut self, key: K, value: V) {
        match self.find(key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (key, value)),
        }
    }

    /// The value of a key, made by `Default` if there was none.
    pub(crate) fn of(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let at = self.find(key).unwrap_or_else(|at| {
            self.0.insert(at, (key, V::default()));
            at
        });
        &mut self.0[at].1
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, (K, V)> {
        self.0.iter()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|e| &mut e.1)
    }
}

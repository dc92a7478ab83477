//! Named entries of a state.

use std::ops::Index;

/// Values by name, in the order of the names.
///
/// The part of a `BTreeMap<String, V>` that states need, on a sorted list: a tree is compiled again for every type of
/// value, in every crate that holds one.
///
/// ```
/// use wengert_optim::Entries;
/// let mut e = Entries::new();
/// e.insert("t".into(), 3);
/// e.insert("best".into(), 1);
/// assert_eq!(e.get("t"), Some(&3));
/// assert_eq!(e.keys().collect::<Vec<_>>(), ["best", "t"]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Entries<V>(Vec<(String, V)>);

impl<V> Default for Entries<V> {
    fn default() -> Self {
        Entries(Vec::new())
    }
}

impl<V> Entries<V> {
    /// No entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn place(&self, name: &str) -> Result<usize, usize> {
        // Most entries are made in the order of their names.
        match self.0.last() {
            Some((last, _)) if last.as_str() < name => Err(self.0.len()),
            _ => self.0.binary_search_by(|e| e.0.as_str().cmp(name)),
        }
    }

    /// The value of a name.
    pub fn get(&self, name: &str) -> Option<&V> {
        self.place(name).ok().map(|i| &self.0[i].1)
    }

    /// The value of a name, to change.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut V> {
        self.place(name).ok().map(|i| &mut self.0[i].1)
    }

    /// Whether a name has a value.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Gives a name a value; returns the value that it had.
    pub fn insert(&mut self, name: String, value: V) -> Option<V> {
        match self.place(&name) {
            Ok(i) => Some(std::mem::replace(&mut self.0[i].1, value)),
            Err(i) => {
                self.0.insert(i, (name, value));
                None
            }
        }
    }

    /// Takes a name out; returns the value that it had.
    pub fn remove(&mut self, name: &str) -> Option<V> {
        self.place(name).ok().map(|i| self.0.remove(i).1)
    }

    /// The value of a name, the default one if it had none.
    pub fn or_default(&mut self, name: &str) -> &mut V
    where
        V: Default,
    {
        let i = self.place(name).unwrap_or_else(|i| {
            self.0.insert(i, (name.to_string(), V::default()));
            i
        });
        &mut self.0[i].1
    }

    /// Names and values.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&String, &V)> + Clone {
        self.0.iter().map(|(name, v)| (name, v))
    }

    /// Names, and values to change.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = (&String, &mut V)> {
        self.0.iter_mut().map(|(name, v)| (&*name, v))
    }

    /// The names.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &String> + Clone {
        self.0.iter().map(|e| &e.0)
    }

    /// The values.
    pub fn values(&self) -> impl ExactSizeIterator<Item = &V> + Clone {
        self.0.iter().map(|e| &e.1)
    }

    /// The values, to change.
    pub fn values_mut(&mut self) -> impl ExactSizeIterator<Item = &mut V> {
        self.0.iter_mut().map(|e| &mut e.1)
    }
}

impl<V> Index<&str> for Entries<V> {
    type Output = V;

    /// # Panics
    /// When the name has no value.
    #[track_caller]
    fn index(&self, name: &str) -> &V {
        match self.get(name) {
            Some(v) => v,
            None => panic!("there is no entry `{name}`"),
        }
    }
}

impl<V> IntoIterator for Entries<V> {
    type Item = (String, V);
    type IntoIter = std::vec::IntoIter<(String, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, V> IntoIterator for &'a Entries<V> {
    type Item = &'a (String, V);
    type IntoIter = std::slice::Iter<'a, (String, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// Of two values for one name the later stays.
impl<V> FromIterator<(String, V)> for Entries<V> {
    fn from_iter<I: IntoIterator<Item = (String, V)>>(items: I) -> Self {
        let mut entries = Entries::new();
        for (name, value) in items {
            entries.insert(name, value);
        }
        entries
    }
}

impl<V, const N: usize> From<[(String, V); N]> for Entries<V> {
    fn from(items: [(String, V); N]) -> Self {
        items.into_iter().collect()
    }
}

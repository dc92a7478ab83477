//! Small values beside the tensors: counters, seeds, positions, settings.

use super::error::{Result, format, unwritable};
use super::json::{Json, quote};
use wengert_tensor::order::repeated;

/// How deep values may be nested.
const DEPTH: usize = 64;

/// A value that is not a tensor: step counts, random states, positions of loaders, settings.
///
/// Written as JSON text into the file's metadata. Numbers come back bit for bit; the floats that JSON cannot write (NaN,
/// infinities, negative zero keeps its sign by itself) are written as `{"$float": "7ff8000000000000"}`. Maps keep their order.
///
/// ```
/// use wengert_nn::state::Value;
/// let v = Value::map([("epoch", Value::from(3u64)), ("lr", Value::from(0.1)), ("rng", vec![1u64, 2].into())]);
/// assert_eq!(v.to_json()?, r#"{"epoch":3,"lr":0.1,"rng":[1,2]}"#);
/// assert_eq!(Value::from_json(&v.to_json()?)?, v);
/// assert_eq!(v.get("epoch").and_then(Value::as_u64), Some(3));
/// # Ok::<(), wengert_nn::state::StateError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number from -2⁶³ to 2⁶⁴ - 1.
    Int(i128),
    /// A real number.
    Float(f64),
    /// A text.
    Str(String),
    /// A list.
    List(Vec<Value>),
    /// Names with values, in order; a name occurs once.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// A map from names and values.
    pub fn map<K: Into<String>>(members: impl IntoIterator<Item = (K, Value)>) -> Self {
        Value::Map(members.into_iter().map(|(k, v)| (k.into(), v)).collect())
    }

    /// The value of a name, if this is a map that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Map(m) => m.iter().find(|(k, _)| k == name).map(|(_, v)| v),
            _ => None,
        }
    }

    /// The truth value.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Value::Bool(b) => Some(*b),
            _ => None,
        }
    }

    /// The whole number, if it is one of this range.
    pub fn as_u64(&self) -> Option<u64> {
        match self {
            Value::Int(i) => u64::try_from(*i).ok(),
            _ => None,
        }
    }

    /// The whole number, if it is one of this range.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(i) => i64::try_from(*i).ok(),
            _ => None,
        }
    }

    /// The real number; not a whole one, which would lose digits.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Float(x) => Some(*x),
            _ => None,
        }
    }

    /// The text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(s) => Some(s),
            _ => None,
        }
    }

    /// The list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(l) => Some(l),
            _ => None,
        }
    }

    /// The members of the map.
    pub fn as_map(&self) -> Option<&[(String, Value)]> {
        match self {
            Value::Map(m) => Some(m),
            _ => None,
        }
    }

    /// The value as JSON text, without blanks.
    ///
    /// # Errors
    /// When a map has a name twice or one that starts with `$`, a whole number is out of range, or values are nested deeper
    /// than 64 levels.
    pub fn to_json(&self) -> Result<String> {
        let mut out = String::new();
        self.write(&mut out, DEPTH)?;
        Ok(out)
    }

    fn write(&self, out: &mut String, depth: usize) -> Result<()> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(unwritable(format!("a value is nested deeper than {DEPTH}")));
        };
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            Value::Int(i) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(i) => {
                out.push_str(&i.to_string());
            }
            Value::Int(i) => {
                return Err(unwritable(format!("the number {i} has more than 64 bits")));
            }
            // Debug prints the shortest digits that read back the same, and always a point or an exponent.
            Value::Float(x) if x.is_finite() => out.push_str(&format!("{x:?}")),
            Value::Float(x) => out.push_str(&format!("{{\"$float\":\"{:016x}\"}}", x.to_bits())),
            Value::Str(s) => quote(out, s),
            Value::List(l) => {
                out.push('[');
                for (i, v) in l.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    v.write(out, depth)?;
                }
                out.push(']');
            }
            Value::Map(m) => {
                out.push('{');
                for (i, (k, v)) in m.iter().enumerate() {
                    if k.starts_with('$') || m[..i].iter().any(|(other, _)| other == k) {
                        return Err(unwritable(format!(
                            "the name {k:?} in a map is reserved or occurs twice"
                        )));
                    }
                    if i > 0 {
                        out.push(',');
                    }
                    quote(out, k);
                    out.push(':');
                    v.write(out, depth)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }

    /// Reads what [`Value::to_json`] writes; any JSON whose whole numbers fit in 64 bits will do.
    ///
    /// # Errors
    /// With the byte at which the text is not such JSON.
    pub fn from_json(text: &str) -> Result<Self> {
        let mut json = Json::new(text, 0);
        let v = Self::read(&mut json, DEPTH)?;
        if json.peek().is_some() {
            return json.error("the text goes on after the value");
        }
        Ok(v)
    }

    fn read(json: &mut Json, depth: usize) -> Result<Self> {
        let Some(depth) = depth.checked_sub(1) else {
            return json.error(format!("values are nested deeper than {DEPTH}"));
        };
        Ok(match json.peek() {
            Some(b'"') => Value::Str(json.string()?),
            Some(b'[') => {
                let mut list = Vec::new();
                json.members(b'[', b']', |j| {
                    list.push(Self::read(j, depth)?);
                    Ok(())
                })?;
                Value::List(list)
            }
            Some(b'{') => {
                let mut map: Vec<(String, Value)> = Vec::new();
                let mut ends = Vec::new();
                json.members(b'{', b'}', |j| {
                    let name = j.string()?;
                    ends.push(j.position());
                    j.expect(b':')?;
                    map.push((name, Self::read(j, depth)?));
                    Ok(())
                })?;
                if let Some(i) = repeated(map.len(), &|a, b| map[a].0.cmp(&map[b].0)) {
                    return Err(format(ends[i], "a name occurs twice in a map"));
                }
                match (map.len(), map.first()) {
                    (1, Some((name, Value::Str(bits)))) if name == "$float" => {
                        match (bits.len(), u64::from_str_radix(bits, 16)) {
                            (16, Ok(bits)) => Value::Float(f64::from_bits(bits)),
                            _ => {
                                return json.error("expected the 16 hexadecimal digits of a float");
                            }
                        }
                    }
                    _ => Value::Map(map),
                }
            }
            Some(b'-' | b'0'..=b'9') => {
                let text = json.number()?;
                let digits = text.strip_prefix('-').unwrap_or(text);
                let leading_zero = digits.len() > 1
                    && digits.starts_with('0')
                    && digits.as_bytes()[1].is_ascii_digit();
                let whole = digits.bytes().all(|b| b.is_ascii_digit());
                let value = if leading_zero || !digits.starts_with(|c: char| c.is_ascii_digit()) {
                    None
                } else if whole {
                    text.parse::<i128>()
                        .ok()
                        .filter(|i| (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(i))
                        .map(Value::Int)
                } else {
                    text.parse::<f64>()
                        .ok()
                        .filter(|x| x.is_finite())
                        .map(Value::Float)
                };
                match value {
                    Some(v) => v,
                    None => return json.error("expected a number of at most 64 bits"),
                }
            }
            _ => {
                for (word, v) in [
                    ("null", Value::Null),
                    ("true", Value::Bool(true)),
                    ("false", Value::Bool(false)),
                ] {
                    if json.word(word) {
                        return Ok(v);
                    }
                }
                return json.error("expected a value");
            }
        })
    }
}

macro_rules! from {
    ($($t:ty => |$x:ident| $e:expr;)*) => {$(
        impl From<$t> for Value {
            fn from($x: $t) -> Self {
                $e
            }
        }
    )*};
}
from! {
    bool => |x| Value::Bool(x);
    u8 => |x| Value::Int(x.into());
    u32 => |x| Value::Int(x.into());
    u64 => |x| Value::Int(x.into());
    usize => |x| Value::Int(x as i128);
    i32 => |x| Value::Int(x.into());
    i64 => |x| Value::Int(x.into());
    f32 => |x| Value::Float(x.into());
    f64 => |x| Value::Float(x);
    &str => |x| Value::Str(x.to_owned());
    String => |x| Value::Str(x);
}

impl<V: Into<Value>> From<Vec<V>> for Value {
    fn from(list: Vec<V>) -> Self {
        Value::List(list.into_iter().map(Into::into).collect())
    }
}

impl<V: Into<Value>> From<Option<V>> for Value {
    fn from(v: Option<V>) -> Self {
        v.map_or(Value::Null, Into::into)
    }
}

//! The checksum: XXH64 (Collet, <https://github.com/Cyan4973/xxHash>, specification 0.1.1), seed 0.
//!
//! It notices damage, not malice: whoever can write the file can write its checksum.

const P1: u64 = 0x9E37_79B1_85EB_CA87;
const P2: u64 = 0xC2B2_AE3D_27D4_EB4F;
const P3: u64 = 0x1656_67B1_9E37_79F9;
const P4: u64 = 0x85EB_CA77_C2B2_AE63;
const P5: u64 = 0x27D4_EB2F_1656_67C5;

/// A running checksum.
#[derive(Clone)]
pub(super) struct Xxh64 {
    lanes: [u64; 4],
    held: [u8; 32],
    count: usize,
    total: u64,
}

fn round(lane: u64, input: u64) -> u64 {
    lane.wrapping_add(input.wrapping_mul(P2))
        .rotate_left(31)
        .wrapping_mul(P1)
}

fn word(bytes: &[u8]) -> u64 {
    let mut w = [0; 8];
    w.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(w)
}

impl Xxh64 {
    pub fn new() -> Self {
        Xxh64 {
            lanes: [P1.wrapping_add(P2), P2, 0, 0u64.wrapping_sub(P1)],
            held: [0; 32],
            count: 0,
            total: 0,
        }
    }

    pub fn update(&mut self, mut data: &[u8]) {
        self.total = self.total.wrapping_add(data.len() as u64);
        if self.count > 0 {
            let n = data.len().min(32 - self.count);
            self.held[self.count..self.count + n].copy_from_slice(&data[..n]);
            self.count += n;
            data = &data[n..];
            if self.count < 32 {
                return;
            }
            let held = self.held;
            self.stripe(&held);
            self.count = 0;
        }
        let mut stripes = data.chunks_exact(32);
        for s in &mut stripes {
            self.stripe(s);
        }
        let rest = stripes.remainder();
        self.held[..rest.len()].copy_from_slice(rest);
        self.count = rest.len();
    }

    #[inline]
    fn stripe(&mut self, s: &[u8]) {
        for (lane, w) in self.lanes.iter_mut().zip(s.chunks_exact(8)) {
            *lane = round(*lane, word(w));
        }
    }

    pub fn finish(&self) -> u64 {
        let [a, b, c, d] = self.lanes;
        let mut h = if self.total >= 32 {
            let h = a
                .rotate_left(1)
                .wrapping_add(b.rotate_left(7))
                .wrapping_add(c.rotate_left(12))
                .wrapping_add(d.rotate_left(18));
            self.lanes.iter().fold(h, |h, &lane| {
                (h ^ round(0, lane)).wrapping_mul(P1).wrapping_add(P4)
            })
        } else {
            P5
        };
        h = h.wrapping_add(self.total);
        let mut rest = &self.held[..self.count];
        while rest.len() >= 8 {
            h = (h ^ round(0, word(rest)))
                .rotate_left(27)
                .wrapping_mul(P1)
                .wrapping_add(P4);
            rest = &rest[8..];
        }
        if rest.len() >= 4 {
            let w = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
            h = (h ^ u64::from(w).wrapping_mul(P1))
                .rotate_left(23)
                .wrapping_mul(P2)
                .wrapping_add(P3);
            rest = &rest[4..];
        }
        for &b in rest {
            h = (h ^ u64::from(b).wrapping_mul(P5))
                .rotate_left(11)
                .wrapping_mul(P1);
        }
        h = (h ^ (h >> 33)).wrapping_mul(P2);
        h = (h ^ (h >> 29)).wrapping_mul(P3);
        h ^ (h >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::Xxh64;

    fn hash(data: &[u8]) -> u64 {
        let mut h = Xxh64::new();
        h.update(data);
        h.finish()
    }

    #[test]
    fn values_of_the_reference() {
        let bytes: Vec<u8> = (0..101).collect();
        assert_eq!(hash(b""), 0xef46_db37_51d8_e999);
        assert_eq!(hash(b"abc"), 0x44bc_2cf5_ad77_0999);
        assert_eq!(hash(&bytes), 0xe990_3849_5f85_381e);
        // In pieces of every size.
        for n in 1..101 {
            let mut h = Xxh64::new();
            bytes.chunks(n).for_each(|c| h.update(c));
            assert_eq!(h.finish(), hash(&bytes), "pieces of {n}");
        }
    }
}

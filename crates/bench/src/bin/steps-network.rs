//! All networks that are not chains or fully connected, and what the machine can do, started by `steps`.
#![forbid(unsafe_code)]

use wengert_bench::ceiling;

fn main() {
    wengert_bench::measure::main(|name| {
        if name == "ceiling" {
            ceiling::print();
            std::process::exit(0);
        }
        wengert_bench::network(name)
    });
}

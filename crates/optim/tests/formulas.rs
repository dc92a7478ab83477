//! Every rule against its published formula; see `written`.

mod common;
mod written;

#[test]
fn every_rule_follows_its_formula() {
    for (name, check) in written::ALL {
        println!("{name}");
        check();
    }
}

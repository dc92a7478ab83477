use super::markup::check_markup;
use super::*;
use crate::svg::{Axis, LinePlot, Series};
use crate::table::Column;

const EVIL: &str = "</title></style><script>alert(1)</script>\"'&\x1b[31m\u{202e}";

fn page() -> Page {
    let plot = LinePlot::new(EVIL)
        .describe(EVIL)
        .x(Axis::linear(EVIL).ends(EVIL, EVIL))
        .y(Axis::log(EVIL))
        .series(Series::new(EVIL, [(0.0, 1.0), (1.0, 0.0), (2.0, f64::NAN)]).note(EVIL))
        .series(Series::new(EVIL, []))
        .band(0.1, 0.5, EVIL, crate::svg::Mood::Bad)
        .arrow(EVIL);
    let table = Table::new([Column::new(EVIL).hint(EVIL), Column::new("b")])
        .caption(EVIL)
        .row([Cell::from(EVIL), Cell::Bar(f64::NAN)])
        .row([
            Cell::Status(Severity::Critical, EVIL.into()),
            Cell::Spark(vec![1.0, f64::NAN, 2.0]),
        ]);
    let finding = Finding::new(Severity::Critical, EVIL, EVIL)
        .at(EVIL)
        .evidence(EVIL)
        .cause(EVIL)
        .location(EVIL)
        .remedy(EVIL);
    Page::new(EVIL)
        .lead(EVIL)
        .cards([Card::of(EVIL, &finding)
            .big(EVIL, EVIL)
            .spark(vec![1.0, 2.0], EVIL)
            .style(3)])
        .section(EVIL)
        .text(EVIL)
        .figure_with(&plot, EVIL)
        .figures([&plot as &dyn Figure, &plot])
        .section(EVIL)
        .table(&table)
        .section(EVIL)
        .details(EVIL, false, |p| p.text(EVIL).table(&table))
        .glossary([(EVIL, EVIL)])
}

#[test]
fn names_from_outside_are_inert() {
    let html = page().render();
    check_markup(&html);
    let lower = html.to_lowercase();
    for bad in [
        "<script",
        "alert(1)<",
        "\u{1b}",
        "\u{202e}",
        "href=\"http",
        "src=",
        "url(http",
        "@import",
        "javascript:",
    ] {
        assert!(!lower.contains(bad), "{bad:?}");
    }
    assert!(html.contains("&lt;script&gt;"));
}

#[test]
fn marks_in_text() {
    assert_eq!(
        inline("a **b** `c<d` **e"),
        "a <strong>b</strong> <code>c&lt;d</code> **e"
    );
    assert_eq!(inline("``"), "<code></code>");
    assert_eq!(inline("x*y"), "x*y");
}

#[test]
fn bars_and_headings_are_in_the_table() {
    let t = Table::new([Column::new("layer"), Column::new("g").log_bars(0)])
        .row([Cell::from("fc1"), Cell::Bar(1e-4)])
        .row([Cell::from("fc2"), Cell::Bar(1.0)])
        .row([Cell::from("fc3"), Cell::Bar(0.0)]);
    let h = table_html(&t);
    assert!(
        h.contains("width:100.0%") && h.contains("width:3.0%") && h.contains("width:0.0%"),
        "{h}"
    );
    assert!(h.contains("<th scope=\"row\">fc1</th>") && !h.contains("hints"));
}

#[test]
fn small_shares_are_no_tags() {
    let t = Table::new([Column::new("layer"), Column::new("dead")])
        .row([Cell::from("fc1"), Cell::Percent(1e-4)]);
    let h = table_html(&t);
    assert!(h.contains(">&lt;0.1 %<") && !h.contains("<0"), "{h}");
}

#[test]
fn what_headings_mean_is_written_out_once() {
    let column = |head: &str, hint: &str| Column::new(head).hint(hint);
    let t = Table::new([column("a<", "x<"), column("b", "y"), column("c", "x<")]);
    let h = table_html(&t);
    let told = "<dl class=\"hints\"><div><dt>a&lt;, c</dt><dd>x&lt;</dd></div><div><dt>b</dt><dd>y</dd></div></dl>";
    assert!(h.ends_with(told) && !h.contains("title="), "{h}");
}

#[test]
fn writing_to_nowhere_names_the_place() {
    let e = Page::new("x").write("/no/such/place/r.html").unwrap_err();
    assert!(e.to_string().contains("/no/such/place/r.html"), "{e}");
}

//! For tests, here and in `flow`.

/// Every element is closed in order, attributes are quoted, and ids are unique.
pub(crate) fn check_markup(html: &str) {
    let void = ["meta", "!DOCTYPE", "br", "img"];
    let (mut open, mut ids) = (Vec::new(), std::collections::HashSet::new());
    let mut rest = html;
    while let Some(i) = rest.find('<') {
        let end = rest[i..].find('>').expect("a tag ends") + i;
        let tag = &rest[i + 1..end];
        rest = &rest[end + 1..];
        assert!(!tag.contains('<'), "{tag}");
        if tag.matches('"').count() % 2 == 1 {
            panic!("quotes of <{tag}>");
        }
        if let Some(n) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(n), "closing {n}");
            continue;
        }
        let n = tag.split([' ', '/', '\n']).next().unwrap();
        if let Some(id) = tag.split(" id=\"").nth(1) {
            let id = id.split('"').next().unwrap();
            assert!(ids.insert(id.to_string()), "id {id} twice");
        }
        if !void.contains(&n) && !tag.ends_with('/') {
            open.push(n);
        }
        if n == "style" {
            rest = &rest[rest.find("</style").expect("style ends")..];
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

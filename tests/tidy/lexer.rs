//! Blanks comments, strings and characters out of Rust source, line by line, so that rules see code alone. Small on
//! purpose: it knows raw strings, byte strings, nested comments and lifetimes, nothing else.

/// `text` with the content of comments and literals replaced by spaces; line breaks stay where they are.
pub fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < bytes.len() {
        let length = match bytes[at] {
            b'/' if bytes[at..].starts_with(b"//") => line(&bytes[at..]),
            b'/' if bytes[at..].starts_with(b"/*") => comment(&bytes[at..]),
            b'r' | b'b' | b'c' if !follows_name(bytes, at) => prefixed(&bytes[at..]),
            b'"' => string(&bytes[at..]),
            b'\'' => character(&bytes[at..]),
            _ => 0,
        };
        if length == 0 {
            let c = text[at..].chars().next().unwrap_or(' ');
            out.push(c);
            at += c.len_utf8();
        } else {
            out.extend(text[at..at + length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            at += length;
        }
    }
    out
}

fn follows_name(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

fn line(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| *b == b'\n').unwrap_or(bytes.len())
}

fn comment(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string(bytes: &[u8]) -> usize {
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Length of a literal that starts with letters: `r"…"`, `r#"…"#`, `b"…"`, `br"…"`, `c"…"`, `b'…'`; 0 when it is none.
fn prefixed(bytes: &[u8]) -> usize {
    let letters = bytes.iter().take_while(|b| matches!(b, b'r' | b'b' | b'c')).take(2).count();
    let rest = &bytes[letters..];
    let is_raw = bytes[..letters].contains(&b'r');
    if !is_raw {
        return match rest.first() {
            Some(b'"') => letters + string(rest),
            Some(b'\'') => match character(rest) {
                0 => 0,
                length => letters + length,
            },
            _ => 0,
        };
    }
    let hashes = rest.iter().take_while(|b| **b == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.resize(hashes + 1, b'#');
    let body = &rest[hashes + 1..];
    let close = body.windows(end.len()).position(|w| w == end);
    close.map_or(bytes.len(), |c| letters + hashes + 1 + c + end.len())
}

/// Length of a character literal; 0 for a lifetime.
fn character(bytes: &[u8]) -> usize {
    let rest = &bytes[1..];
    if rest.first() == Some(&b'\\') {
        let close = rest.iter().skip(2).position(|b| *b == b'\'');
        return close.map_or(0, |c| c + 4);
    }
    let text =
        std::str::from_utf8(&rest[..rest.len().min(4)]).or_else(|e| std::str::from_utf8(&rest[..e.valid_up_to()]));
    let first = text.ok().and_then(|t| t.chars().next()).map_or(1, char::len_utf8);
    if rest.get(first) == Some(&b'\'') { first + 2 } else { 0 }
}

#[test]
fn only_code_is_left() {
    let table = [
        (r#"a("x.unwrap()") // b"#, "a(            )     "),
        (r##"r#"a"b"# + br"c" + b"d""##, "         +       +     "),
        ("'a' + '\\'' + b'\\n' + &'a T + '\"' + 'é'", "    +      +       + &'a T +     +    "),
        ("/* a /* b */ c */ d", "                  d"),
        ("\"a\\\"b\" + c", "       + c"),
        ("for x in bar { \"}\" }", "for x in bar {     }"),
        ("\"a\nb\"c", "  \n  c"),
    ];
    for (text, expected) in table {
        assert_eq!(code_only(text), expected, "{text}");
    }
}

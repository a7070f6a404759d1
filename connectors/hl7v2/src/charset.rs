//! Character sets of HL7 table 0211 (MSH-18) by way of `encoding_rs`. An unknown set is refused, never guessed.

use encoding_rs::{
    BIG5, EUC_KR, Encoding, GB18030, GBK, ISO_2022_JP, ISO_8859_2, ISO_8859_3, ISO_8859_4, ISO_8859_5, ISO_8859_6,
    ISO_8859_7, ISO_8859_8, ISO_8859_15, SHIFT_JIS, UTF_8, WINDOWS_1252, WINDOWS_1254,
};

/// What MSH-18 names: pure ASCII is checked, everything else is an encoding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Charset {
    /// Seven bits; a byte above 127 is an error.
    Ascii,
    /// Decoded with this encoding.
    Encoded(&'static Encoding),
}

impl Charset {
    /// UTF-8, the default where neither the message nor the site names a set.
    pub const UTF8: Self = Self::Encoded(UTF_8);

    /// The set of a name in table 0211 or of a WHATWG label; `None` when nobody here can decode it.
    pub fn named(name: &str) -> Option<Self> {
        let encoding = match name.trim().to_ascii_uppercase().as_str() {
            "ASCII" | "US-ASCII" | "ISO IR6" => return Some(Self::Ascii),
            "UNICODE" | "UNICODE UTF-8" | "UTF-8" | "UTF8" => UTF_8,
            "8859/1" => WINDOWS_1252,
            "8859/2" => ISO_8859_2,
            "8859/3" => ISO_8859_3,
            "8859/4" => ISO_8859_4,
            "8859/5" => ISO_8859_5,
            "8859/6" => ISO_8859_6,
            "8859/7" => ISO_8859_7,
            "8859/8" => ISO_8859_8,
            "8859/9" => WINDOWS_1254,
            "8859/15" => ISO_8859_15,
            "ISO IR14" => SHIFT_JIS,
            "ISO IR87" => ISO_2022_JP,
            "GB 18030-2000" | "GB 18030" => GB18030,
            "KS X 1001" => EUC_KR,
            "BIG-5" => BIG5,
            other => Encoding::for_label(other.as_bytes()).filter(|e| e.is_ascii_compatible() || *e == ISO_2022_JP)?,
        };
        Some(Self::Encoded(encoding))
    }

    /// The encoding used to read bytes of this set.
    pub fn encoding(self) -> &'static Encoding {
        match self {
            Self::Ascii => UTF_8,
            Self::Encoded(encoding) => encoding,
        }
    }
}

/// The set that an HL7 `\Cxxyy\` or `\Mxxyyzz\` escape switches to, by its ISO 2022 designation in hex.
pub fn switched(kind: u8, designation: &str) -> Option<&'static Encoding> {
    Some(match (kind, designation.to_ascii_uppercase().as_str()) {
        (b'C', "2842" | "284A") => UTF_8,
        (b'C', "2D41") => WINDOWS_1252,
        (b'C', "2D42") => ISO_8859_2,
        (b'C', "2D43") => ISO_8859_3,
        (b'C', "2D44") => ISO_8859_4,
        (b'C', "2D4C") => ISO_8859_5,
        (b'C', "2D47") => ISO_8859_6,
        (b'C', "2D46") => ISO_8859_7,
        (b'C', "2D48") => ISO_8859_8,
        (b'C', "2D4D") => WINDOWS_1254,
        (b'C', "2D62") => ISO_8859_15,
        (b'M', "2440" | "2442") => ISO_2022_JP,
        (b'M', "242943" | "242843") => EUC_KR,
        (b'M', "242941" | "242841") => GBK,
        _ => return None,
    })
}

/// Decodes a run of bytes that stood behind a switch; `None` when they are not of that set.
pub fn decode_switched(encoding: &'static Encoding, bytes: &[u8]) -> Option<String> {
    let wrapped;
    let bytes = if encoding == ISO_2022_JP {
        // two-byte codes came in seven bits; give them the designation that the escape stood for
        wrapped = [b"\x1b$B", bytes, b"\x1b(B"].concat();
        wrapped.as_slice()
    } else {
        bytes
    };
    encoding.decode_without_bom_handling_and_without_replacement(bytes).map(|text| text.into_owned())
}

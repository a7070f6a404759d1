//! Made-up messages of 2 to 4 KB for the benches: no two alike, several about the same patient. ORU^R01 as a laboratory sends them, ADT^A01
//! as an admission does.

/// Assigning authority of the patients.
pub const SYSTEM: &str = "urn:oid:2.999.1.1";

const TESTS: [(&str, &str, &str, &str); 10] = [
    ("718-7", "Hemoglobin [Mass/volume] in Blood", "g/dL", "12.0-16.0"),
    ("6690-2", "Leukocytes [#/volume] in Blood by Automated count", "10*3/uL", "4.5-11.0"),
    ("777-3", "Platelets [#/volume] in Blood by Automated count", "10*3/uL", "150-400"),
    ("4544-3", "Hematocrit [Volume Fraction] of Blood by Automated count", "%", "36-46"),
    ("2951-2", "Sodium [Moles/volume] in Serum or Plasma", "mmol/L", "136-145"),
    ("2823-3", "Potassium [Moles/volume] in Serum or Plasma", "mmol/L", "3.5-5.1"),
    ("2160-0", "Creatinine [Mass/volume] in Serum or Plasma", "mg/dL", "0.6-1.2"),
    ("2345-7", "Glucose [Mass/volume] in Serum or Plasma", "mg/dL", "70-99"),
    ("17861-6", "Calcium [Mass/volume] in Serum or Plasma", "mg/dL", "8.6-10.3"),
    ("1975-2", "Bilirubin.total [Mass/volume] in Serum or Plasma", "mg/dL", "0.1-1.2"),
];

/// The identifier of the patient of message `n` when there are `patients`.
pub fn patient(n: u64, patients: u64) -> String {
    format!("B{:07}", n % patients)
}

/// Message `n` about one of `patients`.
pub fn oru(n: u64, patients: u64) -> String {
    use std::fmt::Write;
    let (p, patient) = (n % patients, patient(n, patients));
    let (hour, minute, second) = (n / 3600 % 24, n / 60 % 60, n % 60);
    let time = format!("20260302{hour:02}{minute:02}{second:02}-0400");
    let doctor = "4711^Marchetti^Giulia^^^Dr.^MD^^NORTH&2.999.1.2&ISO";
    let mut text = format!(
        "MSH|^~\\&|LAB|NORTH|CHARTSEAL|NORTH|{time}||ORU^R01^ORU_R01|BENCH{n:09}|P|2.5.1|||AL|NE||UNICODE UTF-8\r\
         PID|1||{patient}^^^NORTH&2.999.1.1&ISO^MR||Bench^Person^{p}^^^^L||19{:02}0{}1{}|{}|||{p} Mill Street^^Northwick^ME^04101^USA^H\
         ||^PRN^PH^^1^207^555{:04}||eng^^ISO639|M^^HL70002\r\
         PV1|1|O|CLIN^2^A^^^NORTH|R|||{doctor}|||MED||||7|||{doctor}||V{n:09}^^^NORTH&2.999.1.3&ISO^VN\r\
         ORC|RE|P{n:09}^NORTH|F{n:09}^LAB||CM||||{time}|||{doctor}\r\
         OBR|1|P{n:09}^NORTH|F{n:09}^LAB|24323-8^Comprehensive metabolic panel^LN|||{time}||||L|||||{doctor}||||||{time}||LAB|F\r",
        p % 90 + 10,
        p % 9 + 1,
        p % 9,
        if p.is_multiple_of(2) { "F" } else { "M" },
        p % 10_000,
    );
    for (index, (code, name, unit, range)) in TESTS.iter().enumerate() {
        let value = n.wrapping_mul(7919).wrapping_add(index as u64 * 104_729) % 1000;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "OBX|{}|NM|{code}^{name}^LN||{}.{}|{unit}^{unit}^UCUM|{range}|N|||F|||{time}||4822^Brandt^Peter^^^Dr.^MD^^NORTH&2.999.1.2&ISO\r",
            index + 1,
            value / 10,
            value % 10
        );
    }
    text.push_str("NTE|1|L|Measured on the automated line; reviewed and released by the laboratory.\rSPM|1|SP1&LAB||SER^Serum^HL70487\r");
    text
}

/// Admission `n` of one of `patients`.
pub fn adt(n: u64, patients: u64) -> String {
    let (p, patient) = (n % patients, patient(n, patients));
    let (hour, minute, second) = (n / 3600 % 24, n / 60 % 60, n % 60);
    let time = format!("20260302{hour:02}{minute:02}{second:02}-0400");
    let doctor = "4711^Marchetti^Giulia^^^Dr.^MD^^NORTH&2.999.1.2&ISO";
    let address = format!("{p} Mill Street^^Northwick^ME^04101^USA^H");
    let phone = format!("^PRN^PH^^1^207^555{:04}", p % 10_000);
    format!(
        "MSH|^~\\&|ADT|NORTH|CHARTSEAL|NORTH|{time}||ADT^A01^ADT_A01|BENCH{n:09}|P|2.5.1|||AL|NE||UNICODE UTF-8\r\
         EVN|A01|{time}|||4711^Marchetti^Giulia^^^Dr.^MD^^NORTH&2.999.1.2&ISO|{time}|NORTH\r\
         PID|1||{patient}^^^NORTH&2.999.1.1&ISO^MR~S{p:08}^^^USSSA&2.16.840.1.113883.4.1&ISO^SS||Bench^Person^{p}^^^^L||19700101|F||\
         2106-3^White^HL70005|{address}||{phone}|^WPN^PH^^1^207^5550000|eng^English^ISO639|M^Married^HL70002|AGN^Agnostic^HL70006|\
         A{n:09}^^^NORTH&2.999.1.4&ISO^AN\r\
         PD1||||{doctor}\r\
         NK1|1|Bench^Parent^{p}^^^^L|MTH^Mother^HL70063|{address}|{phone}||C^Emergency contact^HL70131\r\
         NK1|2|Bench^Brother^{p}^^^^L|BRO^Brother^HL70063|{address}|{phone}||N^Next of kin^HL70131\r\
         PV1|1|I|WARD^12^1^NORTH|E|||{doctor}|4822^Brandt^Peter^^^Dr.^MD^^NORTH&2.999.1.2&ISO|{doctor}|MED||||7|||{doctor}|INP|\
         V{n:09}^^^NORTH&2.999.1.3&ISO^VN|||||||||||||||||||||||||{time}\r\
         PV2|||R07.9^Chest pain, unspecified^I10|||||20260305|3|||||||||||||N\r\
         OBX|1|NM|29463-7^Body weight^LN||{}|kg^kilogram^UCUM|||||F|||{time}\r\
         OBX|2|NM|8302-2^Body height^LN||{}|cm^centimeter^UCUM|||||F|||{time}\r\
         AL1|1|DA^Drug allergy^HL70127|7980^Penicillin^RXNORM|SV^Severe^HL70128|Hives|20100101\r\
         AL1|2|FA^Food allergy^HL70127|256349002^Peanut^SCT|MO^Moderate^HL70128|Swelling|20120501\r\
         DG1|1||R07.9^Chest pain, unspecified^I10||{time}|A^Admitting^HL70052||||||||||{doctor}\r\
         GT1|1||Bench^Person^{p}^^^^L||{address}|{phone}||19700101|F|P|SEL^Self^HL70063\r\
         IN1|1|PLAN7^Basic plan^L|INS7^^^NORTH|Northwick Mutual|1 Harbour Road^^Northwick^ME^04101|||GROUP7||||20260101|20261231|||\
         Bench^Person^{p}|SEL^Self^HL70063|19700101|{address}\r",
        p % 60 + 45,
        p % 40 + 150,
    )
}

#[cfg(test)]
mod tests {
    use super::{adt, oru};

    #[test]
    fn messages_are_of_the_promised_size_and_no_two_are_alike() {
        for n in [0, 1, 7, 59, 3600, 99_999, 1_000_000] {
            for size in [oru(n, 500).len(), adt(n, 500).len()] {
                assert!((2048..=4096).contains(&size), "message {n} has {size} bytes");
            }
        }
        assert_ne!(oru(1, 500), oru(501, 500));
        assert_ne!(adt(1, 500), adt(501, 500));
    }
}

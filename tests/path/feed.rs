//! A laboratory that sends: fictitious ORU^R01 messages of a few patients, published with confirms and `mandatory`.

use std::ops::Range;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};

/// Names that may appear nowhere outside the broker: `canary` looks for them.
pub const CANARIES: [&str; 3] = ["Quetzalcanary", "Zephyrinecanary", "Ottolinecanary"];

/// The trace that every message belongs to.
pub const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

pub struct Feed {
    _connection: Connection,
    channel: Channel,
}

impl Feed {
    pub async fn connect(url: &str) -> Self {
        Self::try_connect(url).await.expect("the broker answers")
    }

    pub async fn try_connect(url: &str) -> lapin::Result<Self> {
        let connection = Connection::connect(url, ConnectionProperties::default()).await?;
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Self { _connection: connection, channel })
    }

    /// Publishes message `number`; the same number is the same message, byte for byte.
    pub async fn send(&self, key: &str, number: usize) {
        self.try_send_all(key, number..number + 1).await.expect("a confirm");
    }

    /// Publishes these messages; returns once the broker has them all. After an error it may have some.
    pub async fn try_send_all(&self, key: &str, numbers: Range<usize>) -> lapin::Result<()> {
        let properties = BasicProperties::default()
            .with_content_type("application/hl7-v2+er7".into())
            .with_delivery_mode(2)
            .with_headers(traced());
        let options = BasicPublishOptions { mandatory: true, ..Default::default() };
        let mut confirms = Vec::with_capacity(numbers.len());
        for number in numbers {
            let (body, properties) = (message(number), properties.clone());
            let sent =
                self.channel.basic_publish("hospital.events".into(), key.into(), options, body.as_bytes(), properties);
            confirms.push((number, sent.await?));
        }
        for (number, confirm) in confirms {
            assert!(matches!(confirm.await?, Confirmation::Ack(None)), "message {number} was not routed");
        }
        Ok(())
    }

    /// Messages that wait in a queue.
    pub async fn waiting(&self, queue: &str) -> u32 {
        let options = QueueDeclareOptions { passive: true, ..Default::default() };
        let declared = self.channel.queue_declare(queue.into(), options, FieldTable::default()).await;
        declared.expect("the queue is there").message_count()
    }
}

/// The sender's trace context.
fn traced() -> FieldTable {
    let mut headers = FieldTable::default();
    headers.insert("traceparent".into(), AMQPValue::LongString(format!("00-{TRACE}-00f067aa0ba902b7-01").into()));
    headers
}

/// One message: 40 patients, each message its own control id and order number.
pub fn message(number: usize) -> String {
    let patient = number % 40;
    let family = CANARIES[number % CANARIES.len()];
    let value = 40 + number % 60;
    format!(
        "MSH|^~\\&|LAB|CRASH|CHARTSEAL|GW|20260301{:02}{:02}{:02}+0000||ORU^R01^ORU_R01|C{number:06}|P|2.5.1\r\
         PID|1||P{patient:05}^^^CRASH^MR||{family}^Sample^{patient}||19{:02}0101|F\r\
         PV1|1|O|W1^101^1|||||||||||||||||V{patient:05}\r\
         OBR|1|O{number:06}|F{number:06}|718-7^Hemoglobin^LN|||20260301080000+0000\r\
         OBX|1|NM|718-7^Hemoglobin^LN||{value}|g/L^gram per liter^UCUM|||||F|||20260301080000+0000\r\
         OBX|2|NM|2345-7^Glucose^LN||{}|mg/dL^^UCUM|||||F\r",
        number / 3600 % 24,
        number / 60 % 60,
        number % 60,
        10 + patient,
        70 + number % 50,
    )
}

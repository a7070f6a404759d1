//! One look at one type: page after page, each resource once, oldest first. Search trusts the server's order only as far as it sees it
//! kept; history comes newest first and is turned round, within a bound. A look that does not end moves no marker further than it saw.

use std::collections::VecDeque;

use reqwest::Url;
use schemas::limits;

use crate::config::Mode;
use crate::error::FhirError;
use crate::page::{self, Entry, Page};
use crate::source::Poller;
use crate::time;

/// Pages of one history look that are kept, in bytes: the oldest, when there are more.
const HISTORY_BYTES_MAX: usize = 64 << 20;
const DOING: &str = "fetching a page";

impl Poller {
    /// Looks once through what is new of a type.
    pub(crate) async fn sweep(&mut self, poll: usize) -> Result<(), FhirError> {
        match self.config.mode {
            Mode::Search => self.search(poll).await?,
            Mode::History => self.history(poll).await?,
        }
        self.window.save(poll).await?;
        Ok(())
    }

    /// What was updated since, oldest first.
    fn since(&self, poll: usize, from: Option<i64>) -> Result<Url, FhirError> {
        let mut url = self.server.below(&self.window.kinds[poll])?;
        if let Some(from) = from {
            url.query_pairs_mut().append_pair("_lastUpdated", &format!("ge{}", time::instant(from)));
        }
        url.query_pairs_mut().append_pair("_sort", "_lastUpdated").append_pair("_count", &self.count.to_string());
        Ok(url)
    }

    async fn search(&mut self, poll: usize) -> Result<(), FhirError> {
        let from = self.window.begin(poll);
        let mut url = self.since(poll, from)?;
        let (mut ordered, mut last, mut began) = (true, i64::MIN, None);
        // the link to the page after the one before, while the time that it came to is asked for instead
        let mut instead: Option<(i64, Url)> = None;
        for _ in 0..limits::FHIR_PAGES_MAX {
            self.room().await?;
            let (page, next) = self.page(&url, &mut began).await?;
            if let Some((since, link)) = instead.take()
                && page.entries.first().and_then(|entry| entry.at).is_some_and(|at| at < since)
            {
                // it does not look at times: its links are all there is
                self.asks_since = false;
                url = link;
                continue;
            }
            let before = last;
            for entry in &page.entries {
                let at = entry.at.unwrap_or(i64::MIN);
                ordered &= at >= last;
                last = last.max(at);
            }
            let page_first = page.entries.first().and_then(|entry| entry.at);
            self.window.offer(poll, from, page.entries);
            // a time from the future must not carry the marker past what comes until then
            let now = began.unwrap_or_else(|| time::now_ms().cast_signed());
            let Some(next) = next else {
                self.window.looked_through(poll, began.unwrap_or(last.min(now)));
                return Ok(());
            };
            // the order of this page says that the ones before it were whole
            if ordered && before > i64::MIN {
                self.window.looked_through(poll, before.min(now));
            }
            // a link counts entries: where one of those before is updated meanwhile, it passes over another one. A time does not, but
            // within one instant
            let first = page_first.unwrap_or(i64::MAX);
            url = if self.asks_since && ordered && last > first {
                let since = self.since(poll, Some(last))?;
                instead = Some((last, next));
                since
            } else {
                next
            };
        }
        Ok(())
    }

    async fn history(&mut self, poll: usize) -> Result<(), FhirError> {
        let from = self.window.begin(poll);
        let mut url = self.server.below(&format!("{}/_history", self.window.kinds[poll]))?;
        if let Some(from) = from {
            url.query_pairs_mut().append_pair("_since", &time::instant(from));
        }
        url.query_pairs_mut().append_pair("_count", &self.count.to_string());
        let mut kept: VecDeque<(usize, Vec<Entry>)> = VecDeque::new();
        let (mut bytes, mut is_cut, mut began, mut deletions) = (0, false, None, 0);
        let mut pages = 0;
        self.room().await?;
        loop {
            let (page, next) = self.page(&url, &mut began).await?;
            deletions += page.deletions;
            // what is known already must not use up the room of what is new
            let entries = self.window.unknown(poll, page.entries);
            let size = entries.iter().map(|entry| entry.body.len()).sum();
            bytes += size;
            kept.push_back((size, entries));
            while bytes > HISTORY_BYTES_MAX && kept.len() > 1 {
                bytes -= kept.pop_front().map_or(0, |(size, _)| size);
                is_cut = true;
            }
            pages += 1;
            match next {
                Some(next) if pages < limits::FHIR_PAGES_MAX => url = next,
                // what is older was not seen: the marker stays
                Some(_) => return Ok(()),
                None => break,
            }
        }
        if deletions > 0 {
            tracing::info!(connector = %self.window.name, kind = %self.window.kinds[poll], deletions, "deletions passed over");
        }
        let mut entries: Vec<Entry> = kept.into_iter().flat_map(|(_, entries)| entries).collect();
        entries.reverse();
        entries.sort_by_key(|entry| entry.at);
        let newest = entries.last().and_then(|entry| entry.at);
        self.window.offer(poll, from, entries);
        let now = began.unwrap_or_else(|| time::now_ms().cast_signed());
        let until = if is_cut || began.is_none() { newest.unwrap_or(i64::MIN).min(now) } else { now };
        self.window.looked_through(poll, until);
        Ok(())
    }

    /// One page and the address of the next one; `began` is the time at the first, by the server's clock.
    async fn page(&mut self, url: &Url, began: &mut Option<i64>) -> Result<(Page, Option<Url>), FhirError> {
        let fetched = self.server.get(url, self.config.page_bytes_max, DOING).await?;
        // of two clocks the one behind: what is between them is looked through again
        *began = began.or(fetched.date.map(|date| date.min(time::now_ms().cast_signed())));
        let page = page::read(&fetched.bytes, &*self.window.markers)?;
        let next = page.next.as_deref().map(|next| self.server.link(url, next, "a link to the next page"));
        let next = next.transpose()?.filter(|next| next != url);
        self.heard();
        Ok((page, next))
    }
}

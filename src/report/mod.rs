//! One report, many renderers: terminal, step summary, Slack, JSON.

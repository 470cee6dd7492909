//! The page's one style sheet.

pub(super) const SHEET: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1rem}\
code,pre{font:14px/1.4 ui-monospace,monospace}\
pre{padding:.6rem;overflow:auto;border:1px solid #8886;border-radius:4px}\
h2{margin-top:3rem;border-bottom:1px solid #8888}\
h3{margin:2rem 0 .3rem}\
h3 code{font-size:16px}\
nav ul{columns:3 16rem;list-style:none;padding:0}\
table{border-collapse:collapse;width:100%}\
td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0;border-bottom:1px solid #8884}\
td:first-child{white-space:nowrap}\
.who{opacity:.75;margin:.2rem 0}";

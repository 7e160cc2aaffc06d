//! Sequences made by hand: good ones pass, and each way to break the law is found.


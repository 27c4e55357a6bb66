// Package pgtext reads and writes values as text, as PostgreSQL's input and output functions do.
//
// # Words
//
// A field is a part of a date or time between separators. A date style says which of three
// numbers is the month: ours is ISO, MDY, PostgreSQL's default.
//
// # How it works
//
// ISO 8601 dates, which are nearly all there are, take a short path. Everything else is cut
// into fields, each field says what it is (a month's name, a clock, a zone, a number), and
// the numbers that are left become year, month and day.
//
// # Invariants
//
//   - A text has one meaning or none: what PostgreSQL refuses is refused.
//   - Nothing is read from a file: time zones come with the program.
package pgtext

// Package cors is Kong's cors plugin: Cross-Origin Resource Sharing as the Fetch standard
// describes it. Preflight requests are answered here; all others get the headers by which
// a browser lets a page see the answer.
package cors

// Package expression is the expression language of flow properties, a subset of NiFi's:
// text with ${subject:function(argument):…} in it.
//
// # Words
//
// A Template is a parsed property value. The subject of an expression is an attribute's
// name, bare or in quotes, or a function that needs none: now(), UUID(), hostname(),
// literal(…). An argument is a string in single or double quotes, a number, true, false or
// an expression of its own. $$ before { is a dollar sign.
//
// # Invariants
//
//   - Length of the source, depth of nesting, number of calls and length of every value are
//     bounded, and regular expressions run in linear time: no template and no attribute can
//     stop an agent.
//   - A template that does not parse, an unknown function and a wrong number of arguments
//     are found by Parse, not when an event is on its way.
//   - An attribute that is not there is null: an empty text, equal to nothing.
package expression

// Package model reads the public API models of AWS (service-2.json) and says what of
// them goes on the wire: which members a shape has, where each travels and under what
// name, and what its value must satisfy. It writes that down as the struct tags that
// awswire reads; it writes no Go source itself and keeps no documentation text.
//
// Words: a shape is a named type of the model; a ref is a use of a shape, whose traits
// override the shape's; a tag is the struct tag of one member.
//
// The grammar of the tags is awswire's (see Tags in its package documentation). A
// member whose wire name is its Go name and which has no traits has no tag.
package model

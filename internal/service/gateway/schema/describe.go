package schema

// Describe returns the field as Kong's /schemas endpoints do.
func (f *Field) Describe() Record {
	out := Record{"type": string(f.Kind)}
	put := func(name string, v any, when bool) {
		if when {
			out[name] = v
		}
	}
	put("description", f.Description, f.Description != "")
	put("required", f.Required, f.Required || f.Kind == Nested)
	put("default", Clone(f.Default), f.Default != nil)
	put("auto", true, f.Auto)
	put("one_of", Clone(f.OneOf), len(f.OneOf) > 0)
	put("between", f.Between, f.Between != nil)
	if f.Gt != nil {
		out["gt"] = *f.Gt
	}
	if f.LenMin != nil {
		out["len_min"] = *f.LenMin
	}
	if f.LenMax != nil {
		out["len_max"] = *f.LenMax
	}
	put("starts_with", f.StartsWith, f.StartsWith != "")
	put("uuid", true, f.UUID)
	put("timestamp", true, f.Timestamp)
	put("unique", true, f.Unique)
	put("encrypted", true, f.Encrypted)
	put("referenceable", true, f.Referenceable)
	put("reference", f.Reference, f.Reference != "")
	put("on_delete", "cascade", f.Cascade)
	put("eq", nil, f.EqNull)
	put("deprecation", Record{"message": f.Deprecated, "removal_in_version": removal}, f.Deprecated != "")
	put("mutually_exclusive_subsets", f.Subsets, len(f.Subsets) > 0)
	if f.Elements != nil {
		out["elements"] = f.Elements.Describe()
	}
	if f.Keys != nil {
		out["keys"] = f.Keys.Describe()
	}
	if f.Values != nil {
		out["values"] = f.Values.Describe()
	}
	if f.Kind == Nested {
		out["fields"] = f.DescribeFields()
		put("shorthand_fields", f.DescribeShorthands(), len(f.Shorthands) > 0)
		if checks := DescribeChecks(f.Checks); len(checks) > 0 {
			out["entity_checks"] = checks
		}
	}
	return out
}

// DescribeFields returns a record's fields, each as an object of one member.
func (f *Field) DescribeFields() []any {
	out := make([]any, len(f.Fields))
	for i, c := range f.Fields {
		out[i] = Record{c.Name: c.Describe()}
	}
	return out
}

// DescribeChecks returns the checks that have a declarative form.
func DescribeChecks(checks []Check) []any {
	out := []any{}
	for _, c := range checks {
		switch {
		case c.AtLeastOneOf != nil:
			out = append(out, Record{"at_least_one_of": c.AtLeastOneOf})
		case c.OnlyOneOf != nil:
			out = append(out, Record{"only_one_of": c.OnlyOneOf})
		case c.MutuallyExclusive != nil:
			out = append(out, Record{"mutually_exclusive": c.MutuallyExclusive})
		case c.AllOrNone != nil:
			out = append(out, Record{"mutually_required": c.AllOrNone})
		case c.Distinct != nil:
			out = append(out, Record{"distinct": c.Distinct})
		case c.If != nil:
			match := Record{}
			switch m := c.If.Match; {
			case m.Required:
				match["required"] = true
			case m.EqNull:
				match["eq"] = nil
			case m.LenEq0:
				match["len_eq"] = 0
			case m.OneOf != nil:
				match["one_of"] = m.OneOf
			}
			ifMatch := Record{"required": true}
			if c.If.Is != nil {
				ifMatch = Record{"one_of": c.If.Is}
			}
			out = append(out, Record{"conditional": Record{
				"if_field": c.If.Field, "if_match": ifMatch, "then_field": c.If.Then, "then_match": match,
			}})
		}
	}
	return out
}

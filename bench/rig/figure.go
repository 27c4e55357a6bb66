package rig

import (
	"encoding/json"
	"os"
	"slices"
)

// figure is one line of output.
type figure struct {
	Bench  string  `json:"bench"`
	Figure string  `json:"figure"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Bar    string  `json:"bar,omitempty"`
	Met    *bool   `json:"met,omitempty"`
}

// Report reports a figure.
func Report(bench, name string, value float64, unit string) {
	emit(figure{Bench: bench, Figure: name, Value: value, Unit: unit})
}

// Judge reports a figure that has a bar.
func Judge(bench, name string, value float64, unit, bar string, met bool) {
	emit(figure{Bench: bench, Figure: name, Value: value, Unit: unit, Bar: bar, Met: &met})
}

func emit(f figure) {
	if err := json.NewEncoder(os.Stdout).Encode(f); err != nil {
		panic(err) // nobody reads what is measured
	}
}

// Median is the middle of values, of which there is at least one.
func Median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}

// P99 is the value that 99 of 100 are below.
func P99(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)*99/100] }

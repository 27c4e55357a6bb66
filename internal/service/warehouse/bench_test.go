package warehouse_test

import "testing"

func BenchmarkSelectOne(b *testing.B) {
	s := open(b)
	c := s.as("a")
	exec(b, c, "select 1")
	for b.Loop() {
		exec(b, c, "select 1")
	}
}

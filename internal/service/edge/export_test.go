package edge

import "context"

// Flushes counts the batches that were taken to be written.
func (s *Service) Flushes() int64 {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	return s.writer.begun
}

// Sweep looks for missing agents now.
func (s *Service) Sweep(ctx context.Context) error { return s.sweep(ctx) }

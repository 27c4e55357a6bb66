package wire_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sluice.dev/sluice/internal/service/warehouse/wire"
)

func columns(types ...wire.Type) []wire.Column {
	out := make([]wire.Column, len(types))
	for i, t := range types {
		out[i] = wire.Column{Name: fmt.Sprint("c", i), Type: t}
	}
	return out
}

func TestBatch(t *testing.T) {
	cols := columns(wire.Bool, wire.Int16, wire.Int32, wire.Int64, wire.Float32, wire.Float64, wire.Text, wire.Bytes, wire.Interval, wire.Int32)
	var e wire.Encoder
	for i := range 3 {
		e.Bool(i == 1)
		e.Int16(int16(-i))
		e.Int32(int32(i))
		e.Int64(-1 << 40)
		e.Float32(1.5)
		e.Float64(-2.5)
		e.String("")
		e.Raw([]byte{0, 255})
		e.Interval(1, -2, 3)
		e.Null()
		e.EndRow()
	}
	d := wire.NewDecoder(cols)
	d.Load(e.Bytes())
	for i := range 3 {
		row, err := d.Next()
		if err != nil {
			t.Fatal(err)
		}
		months, days, micros := row[8].Interval()
		if row[0].Bool() != (i == 1) || row[1].Int16() != int16(-i) || row[2].Int32() != int32(i) || row[3].Int64() != -1<<40 || row[4].Float32() != 1.5 ||
			row[5].Float64() != -2.5 || row[6] == nil || len(row[6]) != 0 || !bytes.Equal(row[7], []byte{0, 255}) || months != 1 || days != -2 || micros != 3 || row[9] != nil {
			t.Errorf("row %d: %v", i, row)
		}
	}
	if row, err := d.Next(); row != nil || err != nil {
		t.Error(row, err)
	}
	d.Load(e.Bytes()[:len(e.Bytes())-1])
	var err error
	for range 4 {
		if _, err = d.Next(); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("a batch that was cut was read")
	}
}

func FuzzDecoder(f *testing.F) {
	var e wire.Encoder
	e.Int32(1)
	e.String("x")
	e.Null()
	f.Add(e.Bytes())
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	cols := columns(wire.Int32, wire.Text, wire.UUID)
	f.Fuzz(func(t *testing.T, batch []byte) {
		d := wire.NewDecoder(cols)
		d.Load(batch)
		for {
			row, err := d.Next()
			if err != nil || row == nil {
				return
			}
			if row[0] != nil {
				_ = row[0].Int32()
			}
			if row[2] != nil && len(row[2]) != 16 {
				t.Fatal("a UUID of another length")
			}
		}
	})
}

func pair(t *testing.T) (a, b *wire.Conn) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out [2]*wire.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(file)
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
		out[i] = wire.NewConn(c.(*net.UnixConn))
		t.Cleanup(func() { c.Close() })
	}
	return out[0], out[1]
}

// TestDescriptors sends more descriptors than one system call takes, between frames
// without any, and checks that each frame gets its own.
func TestDescriptors(t *testing.T) {
	a, b := pair(t)
	const n = 450
	files := make([]*os.File, n)
	for i := range files {
		fd, err := unix.MemfdCreate("t", unix.MFD_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		files[i] = os.NewFile(uintptr(fd), "t")
		defer files[i].Close()
		fmt.Fprint(files[i], i)
	}
	sent := make(chan error, 1)
	go func() {
		var err error
		for _, s := range []struct{ from, to int }{{0, 0}, {0, 3}, {0, 0}, {3, n}, {0, 0}} {
			if e := a.Write('T', []byte("payload"), files[s.from:s.to]...); e != nil {
				err = e
			}
		}
		sent <- err
	}()
	next := 0
	for i, want := range []int{0, 3, 0, n - 3, 0} {
		f, err := b.Read()
		if err != nil {
			t.Fatal(err)
		}
		if f.Kind != 'T' || string(f.Payload) != "payload" || len(f.Files) != want {
			t.Fatalf("frame %d: %q with %d descriptors, want %d", i, f.Payload, len(f.Files), want)
		}
		for _, file := range f.Files {
			text := make([]byte, 10)
			m, err := file.ReadAt(text, 0)
			if string(text[:m]) != fmt.Sprint(next) {
				t.Fatalf("descriptor %d holds %q (%v)", next, text[:m], err)
			}
			file.Close()
			next++
		}
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	a.Close()
	if _, err := b.Read(); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
}

func TestFrameBounds(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fds[0]), "pair")
	c, err := net.FileConn(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := unix.Write(fds[1], []byte{0xff, 0xff, 0xff, 0xff, 'x'}); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.NewConn(c.(*net.UnixConn)).Read(); err == nil {
		t.Error("a frame of 4 GB was accepted")
	}
	unix.Close(fds[1])
}

package warehouse

import (
	"context"
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/service/warehouse/wire"
)

// memory copies a file into an anonymous one, charged to the statement's quota.
func (r *run) memory(in io.Reader, size int64, what string) (*os.File, error) {
	if r.charged+size > r.svc.cfg.Quota {
		return nil, OutOfMemory.new("the Parquet files of this query exceed its memory quota of %d bytes", r.svc.cfg.Quota).
			detail("%s has %d bytes, %d are used already.", what, size, r.charged)
	}
	f, n, err := anonymous(in, r.svc.cfg.Quota-r.charged)
	if r.charged += n; err == nil && r.charged > r.svc.cfg.Quota {
		f.Close()
		return nil, OutOfMemory.new("the Parquet files of this query exceed its memory quota of %d bytes", r.svc.cfg.Quota)
	}
	return f, err
}

// anonymous copies a file into one in memory that nobody can change any more. A file
// longer than limit is cut behind the byte that shows it.
func anonymous(in io.Reader, limit int64) (f *os.File, n int64, err error) {
	fd, err := unix.MemfdCreate("sluice", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, 0, OutOfMemory.wrap(err, "no memory for a file of the query")
	}
	f = os.NewFile(uintptr(fd), "sluice")
	if n, err = io.Copy(f, io.LimitReader(in, limit+1)); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, n, err
	}
	return f, n, nil
}

// localFiles opens the files of a local table.
func (r *run) localFiles(in *input) (files []*os.File, err error) {
	for _, d := range in.table.state.sorted() {
		what := "a file of table " + in.table.String()
		in.keys = append(in.keys, what)
		f, err := r.open(what, func() (io.ReadCloser, ObjectInfo, error) {
			return r.svc.area.Open(r.ctx, fileKey(in.table.id, d.Path))
		})
		if err != nil {
			if _, ok := errors.AsType[*Problem](err); !ok {
				err = BadData.wrap(err, "%s cannot be read", what)
			}
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

// parquetObjects opens the objects of an external table.
func (r *run) parquetObjects(in *input) (files []*os.File, err error) {
	x := in.table.doc.External
	list, err := listObjects(r.ctx, r.svc.objects, x.Bucket, x.Prefix)
	if err != nil {
		return nil, err
	}
	for _, o := range list {
		what := "s3://" + x.Bucket + "/" + o.Key
		in.keys = append(in.keys, what)
		f, err := r.open(what, func() (io.ReadCloser, ObjectInfo, error) { return r.svc.objects.Open(r.ctx, x.Bucket, o.Key) })
		if err != nil {
			if _, ok := errors.AsType[*Problem](err); !ok {
				err = objectError(err, "read", x.Bucket, o.Key)
			}
			return files, err
		}
		files = append(files, f)
	}
	return files, nil
}

func (r *run) open(what string, from func() (io.ReadCloser, ObjectInfo, error)) (*os.File, error) {
	if r.ctx.Err() != nil {
		return nil, r.stopped()
	}
	body, info, err := from()
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return r.memory(body, info.Size, what)
}

// write runs a statement whose result becomes a new file of a table. The file belongs to
// nothing until a log entry names it.
func (r *run) write(id string, x wire.Execute) (file dataFile, affected int64, err error) {
	pr, pw, err := os.Pipe()
	if err != nil {
		return file, 0, err
	}
	file.Path = "part-" + name.Hex(16) + ".zstd.parquet"
	x.Output = true
	out := &verdict{in: pr, result: make(chan error, 1)}
	created := make(chan error, 1)
	go func() {
		err := func() (err error) {
			defer recovered(&err)
			return r.svc.area.Create(r.ctx, fileKey(id, file.Path), out)
		}()
		pr.Close() // ends a worker that still writes
		if err != nil && r.ctx.Err() == nil && !errors.Is(err, errUnfinished) {
			r.cancel(BadData.wrap(err, "a file of the table could not be written"))
		}
		created <- err
	}()
	_ = openToWorker(pw)
	r.send(wire.FrameExecute, x, pw)
	pw.Close()
	f, err := r.receive(wire.FrameDone)
	if err == nil {
		err = r.finish(f)
	}
	if err != nil {
		out.result <- errUnfinished
		pr.Close()
	} else {
		out.result <- nil
	}
	if stored := <-created; err == nil {
		err = stored
	}
	file.Size, file.Rows = out.size, 0
	if r.done != nil {
		affected = r.done.Rows
		file.Rows = r.done.Written
	}
	return file, affected, err
}

var errUnfinished = errors.New("the file was not finished")

// verdict reads what the worker writes and lets it end only when the worker has said
// that the file is whole.
type verdict struct {
	in     *os.File
	result chan error
	size   int64
}

func (v *verdict) Read(b []byte) (int, error) {
	n, err := v.in.Read(b)
	v.size += int64(n)
	if err == nil || n > 0 {
		return n, nil
	}
	result := <-v.result
	v.result <- result
	if result != nil {
		return 0, result
	}
	if err == io.EOF {
		return 0, io.EOF
	}
	return 0, err
}

// openToWorker lets the worker, which runs as another user, open our end of a pipe by
// its path. Only who holds the descriptor has such a path.
func openToWorker(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	return errors.Join(raw.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), 0o666) }), err)
}

// discard removes a file that no log entry came to name.
func (s *Service) discard(id string, f dataFile) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.Grace)
	defer cancel()
	if err := s.area.Delete(ctx, fileKey(id, f.Path)); err != nil {
		s.log.Warn("an unused file stays until the next cleaning", "table", id, "file", f.Path, "error", err)
	}
}

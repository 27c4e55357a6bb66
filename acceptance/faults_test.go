package acceptance_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/firehose"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/s3"
)

var rounds = flag.Int("rounds", 5, "how often the node is killed")

// ledger is what was acknowledged, and what may have happened.
type ledger struct {
	mu      sync.Mutex
	events  map[string]bool    // ids of the collector's events
	records map[string]string  // shard/sequence number → data
	objects map[string][]int64 // key → seeds of the contents it may have
	tables  map[string][]int64 // table → how many rows it may have
}

func (l *ledger) with(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

// absent is the seed of an object that may not be there.
const absent = -1

// content is an object's content, made of its seed.
func content(seed int64) []byte {
	r := rand.New(rand.NewPCG(uint64(seed), 1))
	b := make([]byte, r.IntN(3)*r.IntN(1<<20)+r.IntN(3000))
	var word [8]byte
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(word[:], r.Uint64())
		copy(b[i:], word[:])
	}
	return b
}

const stream, lake = "departures", "lake"

// TestKillAtAnyMoment kills the node again and again while events are collected, records
// put, objects written and overwritten, tables made and filled. In the end everything that
// was acknowledged is there, once, and nothing is half made.
func TestKillAtAnyMoment(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	prepare(t, n)
	l := &ledger{events: map[string]bool{}, records: map[string]string{}, objects: map[string][]int64{}, tables: map[string][]int64{}}
	for round := range *rounds {
		ctx, cancel := context.WithCancel(t.Context())
		var load sync.WaitGroup
		var moved atomic.Int64 // acknowledgements of this round
		for w := range 4 {
			load.Go(func() { collect(ctx, n, l, &moved) })
			load.Go(func() { putRecords(ctx, n, l, &moved) })
			if w < 2 {
				load.Go(func() { putObjects(ctx, n, l, &moved, round*10+w) })
				load.Go(func() { fillTables(ctx, n, l, &moved, fmt.Sprintf("t%d_%d", round, w)) })
			}
		}
		for moved.Load() < 20 {
			time.Sleep(time.Millisecond) // until there is something to lose
		}
		time.Sleep(time.Duration(rand.Int64N(int64(1200 * time.Millisecond))))
		n.Kill()
		cancel()
		load.Wait()
		n.Launch()
		checkRecords(t, n, l)
		checkObjects(t, n, l)
		checkTables(t, n, l)
		if t.Failed() {
			t.Fatalf("after round %d", round)
		}
	}
	checkEvents(t, n, l)
	n.Stop()
	n.Launch()
	checkRecords(t, n, l)
	checkObjects(t, n, l)
	checkTables(t, n, l)
	t.Logf("%d rounds: %d events, %d records, %d objects, %d tables", *rounds, len(l.events), len(l.records), len(l.objects), len(l.tables))
}

func prepare(t *testing.T, n *plat.Node) {
	t.Helper()
	c, ctx := n.AWS(n.Root), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, b := range []string{lake, "bucket"} {
		_, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new(b)})
		must(err)
	}
	for _, s := range []string{stream, "records"} {
		_, err := c.Kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: new(s), ShardCount: new(int64(2))})
		must(err)
	}
	_, err := c.Firehose.CreateDeliveryStream(ctx, &firehose.CreateDeliveryStreamInput{
		DeliveryStreamName: new("to-lake"), DeliveryStreamType: new("KinesisStreamAsSource"),
		KinesisStreamSourceConfiguration: &firehose.KinesisStreamSourceConfiguration{
			KinesisStreamARN: new("arn:aws:kinesis:us-east-1:123456789012:stream/" + stream), RoleARN: new("arn:aws:iam::123456789012:role/r")},
		ExtendedS3DestinationConfiguration: &firehose.ExtendedS3DestinationConfiguration{
			BucketARN: new("arn:aws:s3:::" + lake), RoleARN: new("arn:aws:iam::123456789012:role/r"), Prefix: new("events/"), CompressionFormat: new("GZIP"),
			BufferingHints: &firehose.BufferingHints{SizeInMBs: new(int64(1)), IntervalInSeconds: new(int64(0))}}})
	must(err)
	type object = map[string]any
	n.Admin("POST", "/services", object{"name": "gate", "url": "http://127.0.0.1:9"})
	n.Admin("POST", "/services/gate/routes", object{"name": "gate", "paths": []string{"/events"}})
	n.Admin("POST", "/services/gate/plugins", object{"name": "collector", "config": object{
		"stream": stream, "format": "delimited", "delimiter": ",",
		"fields":  []object{{"name": "event_id", "type": "string", "required": true}, {"name": "n", "type": "integer", "required": true}},
		"columns": []string{"event_id", "n"}}})
}

func collect(ctx context.Context, n *plat.Node, l *ledger, moved *atomic.Int64) {
	client := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := 0; ctx.Err() == nil; i++ {
		var body strings.Builder
		var ids []string
		for range 1 + rand.IntN(20) {
			id := fmt.Sprintf("%016x%016x", rand.Uint64(), rand.Uint64())
			ids = append(ids, id)
			fmt.Fprintf(&body, "{\"event_id\":%q,\"n\":%d}\n", id, i)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, n.Endpoints.Proxy+"/events", strings.NewReader(body.String()))
		if err != nil {
			return
		}
		req.Header.Set("Content-Type", "application/x-ndjson")
		res, err := client.Do(req)
		if err != nil {
			continue // killed, or going to be
		}
		_, err = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close() // read already
		if res.StatusCode != http.StatusAccepted || err != nil {
			continue
		}
		l.with(func() {
			for _, id := range ids {
				l.events[id] = true
			}
		})
		moved.Add(1)
	}
}

func putRecords(ctx context.Context, n *plat.Node, l *ledger, moved *atomic.Int64) {
	c := n.AWS(n.Root).Kinesis
	for ctx.Err() == nil {
		in := &kinesis.PutRecordsInput{StreamName: new("records")}
		for range 1 + rand.IntN(40) {
			in.Records = append(in.Records, kinesis.PutRecordsRequestEntry{PartitionKey: new(fmt.Sprint(rand.IntN(1000))),
				Data: fmt.Appendf(nil, "%x", rand.Uint64())})
		}
		out, err := c.PutRecords(ctx, in)
		if err != nil {
			continue
		}
		l.with(func() {
			for i, r := range out.Records {
				if r.ErrorCode == nil {
					l.records[*r.ShardId+"/"+*r.SequenceNumber] = *in.Records[i].PartitionKey + "=" + string(in.Records[i].Data)
				}
			}
		})
		moved.Add(1)
	}
}

func putObjects(ctx context.Context, n *plat.Node, l *ledger, moved *atomic.Int64, writer int) {
	c := n.AWS(n.Root).S3
	for ctx.Err() == nil {
		key, seed := fmt.Sprintf("w%d/%d", writer, rand.IntN(30)), rand.Int64()
		data := content(seed)
		l.with(func() { // from now on it may be
			if l.objects[key] == nil {
				l.objects[key] = []int64{absent}
			}
			l.objects[key] = append(l.objects[key], seed)
		})
		_, err := c.PutObject(ctx, &s3.PutObjectInput{Bucket: new("bucket"), Key: &key, Body: awswire.NewBody(bytes.NewReader(data), int64(len(data)))})
		if err != nil {
			continue
		}
		l.with(func() { l.objects[key] = []int64{seed} }) // and from now on it is
		moved.Add(1)
	}
}

func fillTables(ctx context.Context, n *plat.Node, l *ledger, moved *atomic.Int64, prefix string) {
	db, err := n.SQL(ctx, n.Root)
	if err != nil {
		return
	}
	defer func() { _ = db.Close(context.Background()) }() // the node may be gone
	table := ""
	for i := 0; ctx.Err() == nil; i++ {
		if i%4 == 0 {
			next := fmt.Sprintf("%s_%d", prefix, i/4)
			l.with(func() { l.tables[next] = []int64{-1, 0} })
			if _, err := db.Exec(ctx, "CREATE TABLE "+next+" (a bigint, b varchar(40))"); err != nil {
				return
			}
			table = next
			l.with(func() { l.tables[table] = []int64{0} })
			moved.Add(1)
			continue
		}
		var have int64
		l.with(func() {
			have = l.tables[table][0]
			l.tables[table] = []int64{have, have + 3}
		})
		if _, err := db.Exec(ctx, "INSERT INTO "+table+" VALUES (1,'x'),(2,'y'),(3,'z')"); err != nil {
			return
		}
		l.with(func() { l.tables[table] = []int64{have + 3} })
		moved.Add(1)
	}
}

// eachRecord reads a stream from its oldest record on.
func eachRecord(t *testing.T, n *plat.Node, stream string, fn func(shard string, r kinesis.Record)) {
	t.Helper()
	c := n.AWS(n.Root).Kinesis
	shards, err := c.ListShards(t.Context(), &kinesis.ListShardsInput{StreamName: &stream})
	if err != nil {
		t.Fatal(err)
	}
	for _, sh := range shards.Shards {
		it, err := c.GetShardIterator(t.Context(), &kinesis.GetShardIteratorInput{StreamName: &stream, ShardId: sh.ShardId, ShardIteratorType: new("TRIM_HORIZON")})
		if err != nil {
			t.Fatal(err)
		}
		for next := it.ShardIterator; ; {
			got, err := c.GetRecords(t.Context(), &kinesis.GetRecordsInput{ShardIterator: next})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range got.Records {
				fn(*sh.ShardId, r)
			}
			if len(got.Records) == 0 {
				break
			}
			next = got.NextShardIterator
		}
	}
}

func checkRecords(t *testing.T, n *plat.Node, l *ledger) {
	t.Helper()
	there := map[string]string{}
	eachRecord(t, n, "records", func(shard string, r kinesis.Record) {
		place := shard + "/" + *r.SequenceNumber
		if _, dup := there[place]; dup {
			t.Errorf("%s is there twice", place)
		}
		there[place] = *r.PartitionKey + "=" + string(r.Data)
	})
	for place, want := range l.records {
		if got := there[place]; got != want {
			t.Errorf("record %s is %q, and %q was acknowledged", place, got, want)
		}
	}
}

func checkObjects(t *testing.T, n *plat.Node, l *ledger) {
	t.Helper()
	c := n.AWS(n.Root).S3
	for key, seeds := range l.objects {
		o, err := c.GetObject(t.Context(), &s3.GetObjectInput{Bucket: new("bucket"), Key: &key})
		if e, ok := errors.AsType[*awswire.Error](err); ok && e.Code == "NoSuchKey" && seeds[0] == absent {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", key, err)
			continue
		}
		data, err := io.ReadAll(o.Body)
		_ = o.Body.Close() // read already
		found := false
		for _, seed := range seeds {
			found = found || sha256.Sum256(data) == sha256.Sum256(content(seed))
		}
		if err != nil || !found {
			t.Errorf("%s has %d bytes that nobody put there (%v)", key, len(data), err)
		}
	}
	in := &s3.ListObjectsV2Input{Bucket: new("bucket")}
	for {
		page, err := c.ListObjectsV2(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Contents {
			if l.objects[*o.Key] == nil {
				t.Errorf("%s is listed and was never put", *o.Key)
			}
		}
		if in.ContinuationToken = page.NextContinuationToken; in.ContinuationToken == nil {
			return
		}
	}
}

func checkTables(t *testing.T, n *plat.Node, l *ledger) {
	t.Helper()
	db := n.MustSQL(n.Root)
	for table, may := range l.tables {
		var rows, sum int64
		err := db.QueryRow(t.Context(), "SELECT count(*), coalesce(sum(a),0) FROM "+table).Scan(&rows, &sum)
		if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "42P01" && may[0] < 0 {
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", table, err)
			continue
		}
		ok := false
		for _, m := range may {
			ok = ok || m == rows
		}
		if !ok || sum != rows*2 {
			t.Errorf("%s has %d rows with the sum %d, and may have %v", table, rows, sum, may)
		}
	}
}

// checkEvents waits until the delivery has caught up, and counts in SQL.
func checkEvents(t *testing.T, n *plat.Node, l *ledger) {
	t.Helper()
	inStream := 0
	eachRecord(t, n, stream, func(string, kinesis.Record) { inStream++ })
	db := n.MustSQL(n.Root)
	for _, statement := range []string{
		"CREATE EXTERNAL SCHEMA ext FROM DATA CATALOG DATABASE 'ext' IAM_ROLE 'arn:aws:iam::123456789012:role/r' CREATE EXTERNAL DATABASE IF NOT EXISTS",
		"CREATE EXTERNAL TABLE ext.events (event_id varchar(40), n bigint) ROW FORMAT DELIMITED FIELDS TERMINATED BY ',' STORED AS TEXTFILE LOCATION 's3://" + lake + "/events/'",
	} {
		if _, err := db.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	seen := map[string]int{}
	plat.Until(t, "the delivery of all events", func() error {
		rows, err := db.Query(t.Context(), "SELECT event_id FROM ext.events")
		if err != nil {
			return err
		}
		ids, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		if len(ids) < inStream {
			return fmt.Errorf("%d of %d are there", len(ids), inStream)
		}
		for _, id := range ids {
			seen[id]++
		}
		return nil
	})
	lost, twice := 0, 0
	for id := range l.events {
		if seen[id] == 0 {
			lost++
		}
	}
	for _, k := range seen {
		if k > 1 {
			twice++
		}
	}
	if lost > 0 || twice > 0 || len(seen) != inStream {
		t.Errorf("of %d acknowledged events %d are lost; %d of the %d in the stream are there twice, %d at all", len(l.events), lost, twice, inStream, len(seen))
	}
}

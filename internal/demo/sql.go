package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"sort"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/klauspost/compress/gzip"

	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/s3"
	"sluice.dev/sluice/internal/base/handout"
)

// list returns the objects under the delivery's prefix.
func (d *demo) list(ctx context.Context) ([]s3.Object, error) {
	var all []s3.Object
	in := &s3.ListObjectsV2Input{Bucket: &d.names.bucket, Prefix: &d.names.prefix}
	for {
		page, err := d.api.s3.ListObjectsV2(ctx, in)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Contents...)
		if page.NextContinuationToken == nil {
			return all, nil
		}
		in.ContinuationToken = page.NextContinuationToken
	}
}

// watch notes when each object was first there to be queried, until ctx ends.
func (d *demo) watch(ctx context.Context) <-chan map[string]time.Time {
	out := make(chan map[string]time.Time, 1)
	seen := map[string]time.Time{}
	look := func(ctx context.Context) {
		objects, err := d.list(ctx)
		now := time.Now()
		if err != nil {
			return // the node is down for a while
		}
		for _, o := range objects {
			if _, ok := seen[*o.Key]; !ok {
				seen[*o.Key] = now
			}
		}
	}
	go func() {
		for ctx.Err() == nil {
			look(ctx)
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultWait)
		defer cancel()
		look(last) // what came since it looked
		out <- seen
	}()
	return out
}

// records counts what the stream holds.
func (d *demo) records(ctx context.Context) (int, error) {
	total := 0
	shards, err := d.api.kinesis.ListShards(ctx, &kinesis.ListShardsInput{StreamName: &d.names.stream})
	if err != nil {
		return 0, err
	}
	for _, sh := range shards.Shards {
		it, err := d.api.kinesis.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{StreamName: &d.names.stream, ShardId: sh.ShardId, ShardIteratorType: new("TRIM_HORIZON")})
		if err != nil {
			return 0, err
		}
		for next := it.ShardIterator; ; {
			got, err := d.api.kinesis.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: next})
			if err != nil {
				return 0, err
			}
			total += len(got.Records)
			if len(got.Records) == 0 && *got.MillisBehindLatest == 0 {
				break
			}
			next = got.NextShardIterator
		}
	}
	return total, nil
}

// delivered waits until the delivery has put all that the stream holds into the bucket.
func (d *demo) delivered(ctx context.Context, acked int) error {
	inStream, err := d.records(ctx)
	if err != nil {
		return err
	}
	if inStream < acked {
		return fmt.Errorf("%d events were acknowledged and the stream holds %d", acked, inStream)
	}
	counted := map[string]int{}
	return until(ctx, "the delivery", func() (bool, error) {
		objects, err := d.list(ctx)
		if err != nil {
			return false, err
		}
		rows := 0
		for _, o := range objects {
			id := *o.Key + *o.ETag
			if _, ok := counted[id]; !ok {
				n := 0
				if err := d.eachLine(ctx, *o.Key, func(string) { n++ }); err != nil {
					return false, err
				}
				counted[id] = n
			}
			rows += counted[id]
		}
		return rows >= inStream, fmt.Errorf("%d of %d records are in the bucket", rows, inStream)
	})
}

// eachLine reads a delivered object.
func (d *demo) eachLine(ctx context.Context, key string, line func(string)) error {
	o, err := d.api.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: &d.names.bucket, Key: &key})
	if err != nil {
		return err
	}
	defer func() { _ = o.Body.Close() }() // read only
	z, err := gzip.NewReader(o.Body)
	if err != nil {
		return err
	}
	scan := bufio.NewScanner(z)
	for scan.Scan() {
		line(scan.Text())
	}
	return scan.Err()
}

// openSQL connects as the owner of an access key.
func (d *demo) openSQL(ctx context.Context, k handout.Key) (*pgx.Conn, error) {
	u, err := url.Parse(d.node.endpoints.SQL)
	if err != nil {
		return nil, err
	}
	u.User = url.UserPassword(k.ID, k.Secret)
	return pgx.Connect(ctx, u.String())
}

// tables makes the external table over the lake, and loads the carriers.
func (d *demo) tables(ctx context.Context, sql *pgx.Conn) error {
	for _, q := range []string{
		`create external schema if not exists lake from data catalog database 'lake' region 'us-east-1' create external database if not exists`,
		`create external table lake.departures (event_id varchar, received_at timestamp, time_hour timestamp, carrier varchar(2), flight int,
			tailnum varchar, origin varchar(3), dest varchar(3), dep_delay int, distance int)
			row format delimited fields terminated by ',' lines terminated by '\n'
			location 's3://` + d.names.bucket + `/` + d.names.prefix + `'`,
		`create table airlines (carrier varchar(2), name varchar(64))`,
		`copy airlines from 's3://` + d.names.bucket + `/reference/airlines.csv' iam_role 'arn:aws:iam::` + d.api.account + `:role/copy' csv ignoreheader 1`,
	} {
		if _, err := sql.Exec(ctx, q); err != nil {
			return fmt.Errorf("%s: %w", strings.Join(strings.Fields(q), " "), err)
		}
		d.note("%s", shorten(strings.Join(strings.Fields(q), " "), 110))
	}
	return nil
}

func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n-1] + "…"
}

const question = `select a.name, count(*) as flights, avg(d.dep_delay) as mean_delay, sum(d.distance) as miles
	from lake.departures d join airlines a on a.carrier = d.carrier
	group by a.name order by flights desc limit 8`

// answer asks the question and shows table and chart.
func (d *demo) answer(ctx context.Context, sql *pgx.Conn) error {
	d.note("%s\n", strings.Join(strings.Fields(question), " "))
	began := time.Now()
	rows, err := sql.Query(ctx, question)
	if err != nil {
		return err
	}
	type row struct {
		name    string
		flights int64
		delay   float64
		miles   int64
	}
	var list []row
	for rows.Next() {
		var r row
		if err := rows.Scan(&r.name, &r.flights, &r.delay, &r.miles); err != nil {
			return err
		}
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	if len(list) == 0 {
		return errors.New("the join found nothing")
	}
	took := time.Since(began)
	fmt.Fprintf(d.Out, "   %-28s %9s %11s %12s\n   %s\n", "carrier", "flights", "mean delay", "miles", strings.Repeat("─", 63))
	for _, r := range list {
		fmt.Fprintf(d.Out, "   %-28s %9d %7.1f min %12d\n", r.name, r.flights, r.delay, r.miles)
	}
	fmt.Fprintln(d.Out)
	for _, r := range list {
		fmt.Fprintf(d.Out, "   %-28s %s %d\n", r.name, strings.Repeat("█", max(int(40*r.flights/list[0].flights), 1)), r.flights)
	}
	d.note("\n   answered in %s", took.Round(time.Millisecond))
	return nil
}

// prove compares what was acknowledged with what SQL finds.
func (d *demo) prove(ctx context.Context, sql *pgx.Conn, s *sent, seen map[string]time.Time) error {
	rows, err := sql.Query(ctx, "select event_id from lake.departures")
	if err != nil {
		return err
	}
	found := make(map[string]int, len(s.acked))
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return err
		}
		found[id]++
	}
	if err := rows.Err(); err != nil {
		return err
	}
	lost, doubled := 0, 0
	for id := range s.acked {
		if found[id] == 0 {
			lost++
		}
	}
	for _, n := range found {
		doubled += n - 1
	}
	d.note("acknowledged %d, rows %d (%d of requests that got no answer)", len(s.acked), len(found)+doubled, len(found)-len(s.acked)+lost)
	d.note("lost %d, duplicated %d", lost, doubled)
	if lost > 0 || doubled > 0 {
		return fmt.Errorf("lost %d, duplicated %d", lost, doubled)
	}
	if err := d.latency(ctx, s, seen); err != nil {
		return err
	}
	return d.permissions(ctx)
}

// latency tells how long an event takes from its acknowledgement to being queryable.
func (d *demo) latency(ctx context.Context, s *sent, seen map[string]time.Time) error {
	var waits []time.Duration
	for key, at := range seen {
		err := d.eachLine(ctx, key, func(line string) {
			id, _, _ := strings.Cut(line, ",")
			if accepted, ok := s.acked[id]; ok {
				waits = append(waits, max(at.Sub(accepted), 0))
			}
		})
		if err != nil {
			return err
		}
	}
	if len(waits) == 0 {
		return errors.New("no event was seen to become queryable")
	}
	sort.Slice(waits, func(i, j int) bool { return waits[i] < waits[j] })
	d.note("%.0f events/s through the gateway; from accepted to queryable p50 %s, p99 %s", float64(len(s.acked))/(s.took-s.down).Seconds(),
		waits[len(waits)/2].Round(time.Millisecond), waits[len(waits)*99/100].Round(time.Millisecond))
	return nil
}

// permissions shows that the same query answers who may read and no one else.
func (d *demo) permissions(ctx context.Context) error {
	statement := func(actions, resources string) string {
		return `{"Effect":"Allow","Action":` + actions + `,"Resource":` + resources + `}`
	}
	connect := statement(`"redshift:GetClusterCredentials"`, `"*"`)
	analyst, err := d.user(ctx, "analyst", `{"Version":"2012-10-17","Statement":[`+strings.Join([]string{connect,
		statement(`"glue:GetTable"`, `["arn:aws:glue:*:*:table/lake/departures","arn:aws:glue:*:*:table/public/airlines"]`),
		statement(`"s3:ListBucket"`, `"arn:aws:s3:::`+d.names.bucket+`"`),
		statement(`"s3:GetObject"`, `"arn:aws:s3:::`+d.names.bucket+`/`+d.names.prefix+`*"`),
		statement(`"kms:Decrypt"`, `"arn:aws:kms:*:*:key/`+d.names.keyID+`"`)}, ",")+`]}`)
	if err != nil {
		return err
	}
	visitor, err := d.user(ctx, "visitor", `{"Version":"2012-10-17","Statement":[`+connect+`]}`)
	if err != nil {
		return err
	}
	ask := func(k handout.Key) error {
		sql, err := d.openSQL(ctx, k)
		if err != nil {
			return err
		}
		_, err = sql.Exec(ctx, question)
		return errors.Join(err, sql.Close(ctx))
	}
	if err := ask(analyst); err != nil {
		return fmt.Errorf("the analyst, who may read, was refused: %w", err)
	}
	d.note("the analyst, whose policy lets it read: answered")
	err = ask(visitor)
	refused, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || refused.Code != "42501" {
		return unexpected("the visitor, who may not read, should be refused", err)
	}
	d.note("the visitor, whose policy does not: %s (SQLSTATE %s)", refused.Message, refused.Code)
	return nil
}

// whatNext prints lines that work as pasted.
func (d *demo) whatNext() {
	fmt.Fprintf(d.Out, `
The node keeps running (process %d, data in %s). Try:

  eval "$(%s env --data %s)"
  curl -i %s/departures -H 'apikey: %s' -H 'content-type: application/json' \
    -d '{"time_hour":"2013-01-31T12:00:00Z","carrier":"UA","flight":1,"tailnum":"N1","origin":"JFK","dest":"SFO","distance":2586}'
  aws --endpoint-url "$AWS_ENDPOINT_URL" s3 ls --recursive s3://%s/
  aws --endpoint-url "$AWS_ENDPOINT_URL" firehose describe-delivery-stream --delivery-stream-name %s
  psql -c "select origin, count(*) from lake.departures group by origin"
  aws --endpoint-url "$AWS_ENDPOINT_URL" kms disable-key --key-id %s   # and run the query again
  kill %d
`, d.node.cmd.Process.Pid, d.Data, d.Program, d.Data, d.api.proxy, goodKey, d.names.bucket, d.names.delivery, d.names.keyID, d.node.cmd.Process.Pid)
}

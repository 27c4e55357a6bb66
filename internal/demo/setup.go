package demo

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/api/aws/firehose"
	"sluice.dev/sluice/internal/api/aws/iam"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/kms"
	"sluice.dev/sluice/internal/api/aws/s3"
	"sluice.dev/sluice/internal/api/aws/sts"
	"sluice.dev/sluice/internal/base/handout"
)

//go:embed data/airlines.csv
var airlines []byte

// clients speak to the node as root.
type clients struct {
	key      handout.Key
	account  string
	region   string
	kms      kms.Client
	s3       s3.Client
	kinesis  kinesis.Client
	firehose firehose.Client
	iam      iam.Client
	sts      sts.Client
	http     *http.Client
	admin    string // Kong Admin API
	proxy    string
}

func newClients(p *process) *clients {
	c := &clients{key: p.key, admin: p.endpoints.KongAdmin, proxy: p.endpoints.Proxy, region: p.key.Region,
		http: &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	w := &awswire.Client{Endpoint: p.endpoints.AWS, Region: c.region, AccessKeyID: c.key.ID, Secret: c.key.Secret, HTTP: c.http}
	c.kms, c.s3, c.kinesis, c.firehose, c.iam, c.sts = kms.Client{Client: w}, s3.Client{Client: w}, kinesis.Client{Client: w},
		firehose.Client{Client: w}, iam.Client{Client: w}, sts.Client{Client: w}
	return c
}

// setUp makes everything the events pass through.
func (d *demo) setUp(ctx context.Context) error {
	who, err := d.api.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return err
	}
	d.api.account = *who.Account
	for _, step := range []func(context.Context) error{d.storage, d.gate, d.references} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) storage(ctx context.Context) error {
	key, err := d.api.kms.CreateKey(ctx, &kms.CreateKeyInput{Description: new("seals the lake")})
	if err != nil {
		return err
	}
	d.names.keyID = *key.KeyMetadata.KeyId
	if _, err := d.api.kms.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: new("alias/lake"), TargetKeyId: &d.names.keyID}); err != nil {
		return err
	}
	d.note("key        alias/lake (%s)", d.names.keyID)
	if _, err := d.api.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &d.names.bucket}); err != nil {
		return err
	}
	_, err = d.api.s3.PutBucketEncryption(ctx, &s3.PutBucketEncryptionInput{Bucket: &d.names.bucket,
		ServerSideEncryptionConfiguration: &s3.ServerSideEncryptionConfiguration{Rules: []s3.ServerSideEncryptionRule{{
			ApplyServerSideEncryptionByDefault: &s3.ServerSideEncryptionByDefault{SSEAlgorithm: new("aws:kms"), KMSMasterKeyID: &d.names.keyID}}}}})
	if err != nil {
		return err
	}
	if _, err := d.api.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: &d.names.bucket, Key: new("reference/airlines.csv"),
		Body: awswire.NewBody(bytes.NewReader(airlines), int64(len(airlines)))}); err != nil {
		return err
	}
	d.note("bucket     s3://%s, sealed by that key", d.names.bucket)
	if _, err := d.api.kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: &d.names.stream, ShardCount: new(int64(2))}); err != nil {
		return err
	}
	err = until(ctx, "making the stream", func() (bool, error) {
		s, err := d.api.kinesis.DescribeStreamSummary(ctx, &kinesis.DescribeStreamSummaryInput{StreamName: &d.names.stream})
		return err == nil && *s.StreamDescriptionSummary.StreamStatus == "ACTIVE", err
	})
	if err != nil {
		return err
	}
	d.note("stream     %s, two shards", d.names.stream)
	role := "arn:aws:iam::" + d.api.account + ":role/delivery"
	_, err = d.api.firehose.CreateDeliveryStream(ctx, &firehose.CreateDeliveryStreamInput{
		DeliveryStreamName: &d.names.delivery, DeliveryStreamType: new("KinesisStreamAsSource"),
		KinesisStreamSourceConfiguration: &firehose.KinesisStreamSourceConfiguration{
			KinesisStreamARN: new("arn:aws:kinesis:" + d.api.region + ":" + d.api.account + ":stream/" + d.names.stream), RoleARN: &role},
		ExtendedS3DestinationConfiguration: &firehose.ExtendedS3DestinationConfiguration{
			BucketARN: new("arn:aws:s3:::" + d.names.bucket), RoleARN: &role, Prefix: &d.names.prefix, CompressionFormat: new("GZIP"),
			BufferingHints: &firehose.BufferingHints{SizeInMBs: new(int64(1)), IntervalInSeconds: new(int64(1))}}})
	if err != nil {
		return err
	}
	d.note("delivery   %s → s3://%s/%sYYYY/MM/DD/HH/, GZIP", d.names.stream, d.names.bucket, d.names.prefix)
	return nil
}

// The keys that consumers of the gateway present.
const (
	goodKey    = "demo-airport-key"
	limitedKey = "demo-trial-key"
	trialLimit = 5 // requests a minute
)

// gate makes service, route, plugins and consumers through the Kong Admin API.
func (d *demo) gate(ctx context.Context) error {
	type object = map[string]any
	field := func(name, kind string, required bool) object {
		return object{"name": name, "type": kind, "required": required}
	}
	for _, call := range []struct {
		path string
		body object
	}{
		// The collector answers by itself, so nothing is ever sent to the service's host.
		{"/services", object{"name": "departures", "url": "http://127.0.0.1:9"}},
		{"/services/departures/routes", object{"name": "departures", "paths": []string{"/departures"}, "methods": []string{"GET", "POST"}}},
		{"/services/departures/plugins", object{"name": "key-auth"}},
		{"/services/departures/plugins", object{"name": "rate-limiting", "config": object{"second": 1_000_000, "policy": "local"}}},
		{"/routes/departures/plugins", object{"name": "collector", "config": object{
			"stream": d.names.stream, "format": "delimited", "delimiter": ",", "programme_field": "carrier", "references": d.names.collection,
			"partition_key_field": "tailnum", "max_body_size": 1 << 20,
			"fields": []object{field("event_id", "string", false), field("time_hour", "timestamp", true), field("carrier", "string", true),
				field("flight", "integer", true), field("tailnum", "string", true), field("origin", "string", true), field("dest", "string", true),
				field("dep_delay", "integer", false), field("distance", "integer", true)},
			"columns": []string{"event_id", "received_at", "time_hour", "carrier", "flight", "tailnum", "origin", "dest", "dep_delay", "distance"}}}},
		{"/consumers", object{"username": "airport"}},
		{"/consumers/airport/key-auth", object{"key": goodKey}},
		{"/consumers", object{"username": "trial"}},
		{"/consumers/trial/key-auth", object{"key": limitedKey}},
		{"/consumers/trial/plugins", object{"name": "rate-limiting", "config": object{"minute": trialLimit, "policy": "local"}}},
	} {
		if err := d.send(ctx, http.MethodPost, d.api.admin+call.path, call.body, http.StatusCreated); err != nil {
			return err
		}
	}
	d.note("gate       POST %s/departures: key-auth, rate limiting, collector", d.api.proxy)
	return nil
}

// references tells the collector which carriers there are.
func (d *demo) references(ctx context.Context) error {
	rows, err := csv.NewReader(bytes.NewReader(airlines)).ReadAll()
	if err != nil {
		return err
	}
	for _, row := range rows[1:] {
		url := d.api.admin + "/references/" + d.names.collection + "/" + row[0]
		if err := d.send(ctx, http.MethodPut, url, map[string]any{"name": row[1], "enabled": true}, 0); err != nil {
			return err
		}
	}
	d.note("reference  %d carriers that events may name", len(rows)-1)
	return nil
}

// send sends JSON and expects a status; 0 is any success.
func (d *demo) send(ctx context.Context, method, url string, body any, status int) error {
	raw, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(raw))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := d.api.http.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	_ = res.Body.Close() // read already
	if err != nil {
		return err
	}
	if status != 0 && res.StatusCode != status || res.StatusCode/100 != 2 {
		return unexpected(method+" "+url, fmt.Sprintf("%d %s", res.StatusCode, answer))
	}
	return nil
}

// user makes a user with a policy and a key.
func (d *demo) user(ctx context.Context, name, policy string) (handout.Key, error) {
	if _, err := d.api.iam.CreateUser(ctx, &iam.CreateUserInput{UserName: &name}); err != nil {
		return handout.Key{}, err
	}
	if _, err := d.api.iam.PutUserPolicy(ctx, &iam.PutUserPolicyInput{UserName: &name, PolicyName: new("demo"), PolicyDocument: &policy}); err != nil {
		return handout.Key{}, err
	}
	k, err := d.api.iam.CreateAccessKey(ctx, &iam.CreateAccessKeyInput{UserName: &name})
	if err != nil {
		return handout.Key{}, err
	}
	return handout.Key{ID: *k.AccessKey.AccessKeyId, Secret: *k.AccessKey.SecretAccessKey}, nil
}

package acceptance_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sluice.dev/sluice/acceptance/plat"
	"sluice.dev/sluice/internal/api/aws/kinesis"
	"sluice.dev/sluice/internal/api/aws/s3"
)

// toStreamAndObjects takes requests, and sends each to a stream and to a bucket.
const toStreamAndObjects = `{"rootGroup": {"identifier": "00000000-0000-4000-8000-000000000001", "name": "root",
 "controllerServices": [{"identifier": "00000000-0000-4000-8000-000000000002", "name": "key", "type": "AWSCredentialsProviderControllerService", "properties": {"Access Key ID": "ACCESS", "Secret Access Key": "SECRET"}}],
 "processors": [
  {"identifier": "00000000-0000-4000-8000-000000000003", "name": "in", "type": "ListenHTTP", "properties": {"Listening Port": "0", "Local Network Address": "127.0.0.1"}},
  {"identifier": "00000000-0000-4000-8000-000000000004", "name": "stream", "type": "PutKinesisStream", "penaltyDuration": "100 ms", "properties": {"AWS Credentials Provider service": "00000000-0000-4000-8000-000000000002", "Endpoint Override URL": "ENDPOINT", "Stream Name": "edge"}, "autoTerminatedRelationships": ["success"]},
  {"identifier": "00000000-0000-4000-8000-000000000005", "name": "objects", "type": "PutS3Object", "penaltyDuration": "100 ms", "properties": {"AWS Credentials Provider service": "00000000-0000-4000-8000-000000000002", "Endpoint Override URL": "ENDPOINT", "Bucket": "edge", "Object Key": "in/${filename}"}, "autoTerminatedRelationships": ["success"]}],
 "connections": [
  {"identifier": "00000000-0000-4000-8000-000000000006", "source": {"id": "00000000-0000-4000-8000-000000000003"}, "destination": {"id": "00000000-0000-4000-8000-000000000004"}, "selectedRelationships": ["success"]},
  {"identifier": "00000000-0000-4000-8000-000000000007", "source": {"id": "00000000-0000-4000-8000-000000000003"}, "destination": {"id": "00000000-0000-4000-8000-000000000005"}, "selectedRelationships": ["success"]},
  {"identifier": "00000000-0000-4000-8000-000000000008", "source": {"id": "00000000-0000-4000-8000-000000000004"}, "destination": {"id": "00000000-0000-4000-8000-000000000004"}, "selectedRelationships": ["failure"]},
  {"identifier": "00000000-0000-4000-8000-000000000009", "source": {"id": "00000000-0000-4000-8000-000000000005"}, "destination": {"id": "00000000-0000-4000-8000-000000000005"}, "selectedRelationships": ["failure"]}]}}`

// An agent stores and forwards: what it has taken while the node was away arrives.
func TestAgentToStreamAndObjects(t *testing.T) {
	n := plat.Start(t, plat.Options{})
	ctx := t.Context()
	c := n.AWS(n.Root)
	if _, err := c.Kinesis.CreateStream(ctx, &kinesis.CreateStreamInput{StreamName: new("edge"), ShardCount: new(int64(1))}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.S3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: new("edge")}); err != nil {
		t.Fatal(err)
	}
	data := t.TempDir()
	flow := strings.NewReplacer("ACCESS", n.Root.ID, "SECRET", n.Root.Secret, "ENDPOINT", n.Endpoints.AWS).Replace(toStreamAndObjects)
	if err := os.WriteFile(filepath.Join(data, "flow.json"), []byte(`{"flowId":"f","flow":`+flow+`}`), 0o600); err != nil {
		t.Fatal(err)
	}
	agent := plat.StartAgent(t, data, "--class", "C", "--url", n.Endpoints.Console+"/efm/api")
	url := ""
	plat.Until(t, "the agent listens", func() error {
		for text := range strings.Lines(agent.LogText()) {
			var line struct{ Msg, Address string }
			if json.Unmarshal([]byte(text), &line) == nil && line.Msg == "listening" {
				url = "http://" + line.Address + "/contentListener"
				return nil
			}
		}
		return errors.New("it has not said where")
	})

	n.Terminate() // the agent goes on without it
	n.Wait()
	resp, err := http.Post(url, "text/plain", bytes.NewReader([]byte("stored and forwarded")))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	time.Sleep(200 * time.Millisecond) // it is tried, and fails
	n.Launch()

	c = n.AWS(n.Root)
	it, err := c.Kinesis.GetShardIterator(ctx, &kinesis.GetShardIteratorInput{StreamName: new("edge"), ShardId: new("shardId-000000000000"), ShardIteratorType: new("TRIM_HORIZON")})
	if err != nil {
		t.Fatal(err)
	}
	plat.Until(t, "the record is in the stream", func() error {
		out, err := c.Kinesis.GetRecords(ctx, &kinesis.GetRecordsInput{ShardIterator: it.ShardIterator})
		if err == nil && (len(out.Records) == 0 || string(out.Records[0].Data) != "stored and forwarded") {
			err = errors.New("it is not")
		}
		return err
	})
	plat.Until(t, "the object is in the bucket", func() error {
		out, err := c.S3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: new("edge"), Prefix: new("in/")})
		if err == nil && (len(out.Contents) == 0 || *out.Contents[0].Size != int64(len("stored and forwarded"))) {
			err = errors.New("it is not")
		}
		return err
	})
	agent.Stop()
}

package firehose

import (
	"context"
	"strings"
	"time"

	"sluice.dev/sluice/internal/api/aws/awswire"
	"sluice.dev/sluice/internal/base/caller"
	"sluice.dev/sluice/internal/base/fault"
	"sluice.dev/sluice/internal/base/name"
	"sluice.dev/sluice/internal/base/segment"
	"sluice.dev/sluice/internal/service/delivery"
	"sluice.dev/sluice/internal/service/objects"
	"sluice.dev/sluice/internal/service/streams"
)

type front struct{ delivery *delivery.Service }

var _ Operations = front{}

// New returns the API over s.
func New(s *delivery.Service) awswire.Service {
	svc := Service(front{s})
	svc.Resources, svc.Codes = resources, codes
	return svc
}

var resources = map[string][]name.Action{
	"CreateDeliveryStream":   {"firehose:CreateDeliveryStream"},
	"DeleteDeliveryStream":   {"firehose:DeleteDeliveryStream"},
	"DescribeDeliveryStream": {"firehose:DescribeDeliveryStream"},
	"ListDeliveryStreams":    {"firehose:ListDeliveryStreams"},
	"PutRecord":              {"firehose:PutRecord"},
	"PutRecordBatch":         {"firehose:PutRecordBatch"},
}

var codes = map[*fault.Reason]awswire.Code{
	delivery.NoDelivery:      {Code: "ResourceNotFoundException", Status: 400},
	delivery.DeliveryExists:  {Code: "ResourceInUseException", Status: 400},
	delivery.InvalidArgument: {Code: "InvalidArgumentException", Status: 400},
	delivery.NotDirect:       {Code: "InvalidArgumentException", Status: 400},
	delivery.LimitExceeded:   {Code: "LimitExceededException", Status: 400},
	objects.NoBucket:         {Code: "InvalidArgumentException", Status: 400},
	streams.NoStream:         {Code: "InvalidArgumentException", Status: 400},
	segment.Full:             {Code: "ServiceUnavailableException", Status: 503},
	segment.DiskFull:         {Code: "ServiceUnavailableException", Status: 503},
}

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// resource returns what stands behind the prefix in an ARN of a service. A regional resource must be of the
// caller's region and account; a bucket's ARN has neither.
func resource(ctx context.Context, member, arn, service, prefix string) (string, error) {
	a, err := name.ParseARN(arn)
	rest, ok := strings.CutPrefix(a.Resource, prefix)
	if err != nil || a.Service != service || !ok || rest == "" {
		return "", delivery.InvalidArgument.Field(member, "%s is not the ARN that %s needs", arn, member)
	}
	region, account := caller.Region(ctx), ""
	if who, ok := caller.From(ctx); ok {
		account = who.Account
	}
	if service == "s3" {
		region, account = "", ""
	}
	if !a.Within(service, region, account) {
		return "", delivery.InvalidArgument.Field(member, "%s is not of the region and account of this call, as %s must be", arn, member)
	}
	return rest, nil
}

// destination is what the two S3 destinations have in common.
func destination(in *CreateDeliveryStreamInput) (*S3DestinationConfiguration, error) {
	x := in.ExtendedS3DestinationConfiguration
	switch {
	case x != nil && in.S3DestinationConfiguration != nil:
		return nil, delivery.InvalidArgument.Field("S3DestinationConfiguration", "Exactly one destination configuration is supported for a Firehose")
	case x != nil:
		err := awswire.Only(x, "RoleARN", "BucketARN", "Prefix", "ErrorOutputPrefix", "BufferingHints", "CompressionFormat",
			"EncryptionConfiguration", "CloudWatchLoggingOptions", "ProcessingConfiguration", "S3BackupMode")
		if err != nil {
			return nil, err
		}
		if x.ProcessingConfiguration != nil && value(x.ProcessingConfiguration.Enabled) {
			return nil, awswire.Unserved.Field("ProcessingConfiguration", "processing of records is not served yet")
		}
		if value(x.S3BackupMode) == "Enabled" {
			return nil, awswire.Unserved.Field("S3BackupMode", "a backup of the source records is not served yet")
		}
		return &S3DestinationConfiguration{RoleARN: x.RoleARN, BucketARN: x.BucketARN, Prefix: x.Prefix, ErrorOutputPrefix: x.ErrorOutputPrefix,
			BufferingHints: x.BufferingHints, CompressionFormat: x.CompressionFormat, EncryptionConfiguration: x.EncryptionConfiguration,
			CloudWatchLoggingOptions: x.CloudWatchLoggingOptions}, nil
	case in.S3DestinationConfiguration != nil:
		return in.S3DestinationConfiguration, nil
	}
	return nil, delivery.InvalidArgument.Field("ExtendedS3DestinationConfiguration", "Exactly one destination configuration is supported for a Firehose; destinations in S3 are served")
}

func (f front) CreateDeliveryStream(ctx context.Context, in *CreateDeliveryStreamInput) (*CreateDeliveryStreamOutput, error) {
	err := awswire.Only(in, "DeliveryStreamName", "DeliveryStreamType", "KinesisStreamSourceConfiguration",
		"S3DestinationConfiguration", "ExtendedS3DestinationConfiguration")
	if err != nil {
		return nil, err
	}
	o := delivery.Options{Name: *in.DeliveryStreamName, Interval: -1}
	switch kind := value(in.DeliveryStreamType); {
	case kind == "KinesisStreamAsSource" && in.KinesisStreamSourceConfiguration == nil:
		return nil, delivery.InvalidArgument.Field("KinesisStreamSourceConfiguration", "a delivery stream of the type KinesisStreamAsSource needs a source")
	case kind != "" && kind != "DirectPut" && kind != "KinesisStreamAsSource":
		return nil, awswire.Unserved.Field("DeliveryStreamType", "%s is not served yet", kind)
	case kind != "KinesisStreamAsSource" && in.KinesisStreamSourceConfiguration != nil:
		return nil, delivery.InvalidArgument.Field("DeliveryStreamType", "a source goes with the type KinesisStreamAsSource")
	case in.KinesisStreamSourceConfiguration != nil:
		if o.Source, err = resource(ctx, "KinesisStreamARN", *in.KinesisStreamSourceConfiguration.KinesisStreamARN, "kinesis", "stream/"); err != nil {
			return nil, err
		}
	}
	d, err := destination(in)
	if err != nil {
		return nil, err
	}
	if o.Bucket, err = resource(ctx, "BucketARN", *d.BucketARN, "s3", ""); err != nil {
		return nil, err
	}
	if e := d.EncryptionConfiguration; e != nil && e.KMSEncryptionConfig != nil {
		return nil, awswire.Unserved.Field("EncryptionConfiguration", "a delivery stream writes under its bucket's default encryption; set the key there")
	}
	if l := d.CloudWatchLoggingOptions; l != nil && value(l.Enabled) {
		return nil, awswire.Unserved.Field("CloudWatchLoggingOptions", "logging of a delivery stream is not served; its state is in DescribeDeliveryStream and in the metrics")
	}
	switch format := value(d.CompressionFormat); format {
	case "", "UNCOMPRESSED":
	case "GZIP":
		o.GZIP = true
	default:
		return nil, awswire.Unserved.Field("CompressionFormat", "%s is not served yet; GZIP is", format)
	}
	o.Role, o.Prefix, o.ErrorPrefix = *d.RoleARN, value(d.Prefix), value(d.ErrorOutputPrefix)
	if b := d.BufferingHints; b != nil {
		o.Bytes = value(b.SizeInMBs) << 20
		if b.IntervalInSeconds != nil {
			o.Interval = time.Duration(*b.IntervalInSeconds) * time.Second
		}
	}
	made, err := f.delivery.CreateDelivery(ctx, o)
	if err != nil {
		return nil, err
	}
	return &CreateDeliveryStreamOutput{DeliveryStreamARN: new(made.ARN.String())}, nil
}

func (f front) DeleteDeliveryStream(ctx context.Context, in *DeleteDeliveryStreamInput) (*DeleteDeliveryStreamOutput, error) {
	return &DeleteDeliveryStreamOutput{}, f.delivery.DeleteDelivery(ctx, *in.DeliveryStreamName)
}

func (f front) DescribeDeliveryStream(ctx context.Context, in *DescribeDeliveryStreamInput) (*DescribeDeliveryStreamOutput, error) {
	d, err := f.delivery.DescribeDelivery(ctx, *in.DeliveryStreamName)
	if err != nil {
		return nil, err
	}
	format := "UNCOMPRESSED"
	if d.GZIP {
		format = "GZIP"
	}
	hints := &BufferingHints{SizeInMBs: new(d.Bytes >> 20), IntervalInSeconds: new(int64(d.Interval.Seconds()))}
	bucket := new("arn:aws:s3:::" + d.Bucket)
	plain := &EncryptionConfiguration{NoEncryptionConfig: new("NoEncryption")}
	desc := &DeliveryStreamDescription{
		DeliveryStreamName: &d.Name, DeliveryStreamARN: new(d.ARN.String()), DeliveryStreamStatus: new("ACTIVE"),
		DeliveryStreamType: new("DirectPut"), VersionId: new("1"), CreateTimestamp: &d.Created, HasMoreDestinations: new(false),
		Destinations: []DestinationDescription{{
			DestinationId: new("destinationId-000000000001"),
			S3DestinationDescription: &S3DestinationDescription{RoleARN: &d.Role, BucketARN: bucket, Prefix: &d.Prefix, ErrorOutputPrefix: &d.ErrorPrefix,
				BufferingHints: hints, CompressionFormat: &format, EncryptionConfiguration: plain},
			ExtendedS3DestinationDescription: &ExtendedS3DestinationDescription{RoleARN: &d.Role, BucketARN: bucket, Prefix: &d.Prefix, ErrorOutputPrefix: &d.ErrorPrefix,
				BufferingHints: hints, CompressionFormat: &format, EncryptionConfiguration: plain, S3BackupMode: new("Disabled")},
		}},
	}
	if d.Source != "" {
		arn := name.ARN{Service: "kinesis", Region: d.ARN.Region, Account: d.ARN.Account, Resource: "stream/" + d.Source}
		desc.DeliveryStreamType = new("KinesisStreamAsSource")
		desc.Source = &SourceDescription{KinesisStreamSourceDescription: &KinesisStreamSourceDescription{
			KinesisStreamARN: new(arn.String()), RoleARN: &d.Role, DeliveryStartTimestamp: &d.Created}}
	}
	for _, l := range d.Lanes {
		if l.LastError != "" {
			desc.FailureDescription = &FailureDescription{Type: new("UNKNOWN_ERROR"), Details: &l.LastError}
		}
	}
	return &DescribeDeliveryStreamOutput{DeliveryStreamDescription: desc}, nil
}

func (f front) ListDeliveryStreams(ctx context.Context, in *ListDeliveryStreamsInput) (*ListDeliveryStreamsOutput, error) {
	limit, kind := 10, value(in.DeliveryStreamType)
	if in.Limit != nil {
		limit = int(*in.Limit)
	}
	names, more, err := f.delivery.ListDeliveries(ctx, value(in.ExclusiveStartDeliveryStreamName), limit,
		kind == "" || kind == "DirectPut", kind == "" || kind == "KinesisStreamAsSource")
	return &ListDeliveryStreamsOutput{DeliveryStreamNames: append([]string{}, names...), HasMoreDeliveryStreams: &more}, err
}

// recordID names a record in the answers. The API promises no more than that it is unique.
func recordID() *string { return new(name.Secret(40)) }

func (f front) PutRecord(ctx context.Context, in *PutRecordInput) (*PutRecordOutput, error) {
	err := f.delivery.Put(ctx, *in.DeliveryStreamName, [][]byte{in.Record.Data}, "firehose:PutRecord")
	return &PutRecordOutput{RecordId: recordID(), Encrypted: new(true)}, err
}

func (f front) PutRecordBatch(ctx context.Context, in *PutRecordBatchInput) (*PutRecordBatchOutput, error) {
	values := make([][]byte, len(in.Records))
	for i := range in.Records {
		values[i] = in.Records[i].Data
	}
	if err := f.delivery.Put(ctx, *in.DeliveryStreamName, values, "firehose:PutRecordBatch"); err != nil {
		return nil, err
	}
	out := &PutRecordBatchOutput{FailedPutCount: new(int64), Encrypted: new(true)}
	for range values {
		out.RequestResponses = append(out.RequestResponses, PutRecordBatchResponseEntry{RecordId: recordID()})
	}
	return out, nil
}

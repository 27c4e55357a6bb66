package awswire

// Limits of what a client may send. Each is at or above what AWS accepts.
const (
	maxHeaders = 200       // header fields
	maxURI     = 16 << 10  // bytes of path and query
	maxObject  = 5 << 30   // bytes of one S3 upload or part
	usualBody  = 1 << 20   // bytes of a body that is not streamed
	buffered   = 256 << 20 // bytes of bodies held at one time, unless configured
)

// bodyLimits are the APIs whose bodies may be larger than usual.
var bodyLimits = map[string]int64{
	"kinesis":  16 << 20, // PutRecords: 10 MiB of data, in base64, with their keys
	"firehose": 8 << 20,  // PutRecordBatch: 4 MiB of data, in base64
	"s3":       4 << 20,  // CompleteMultipartUpload: 10,000 parts with their checksums
}

func bodyLimit(a *API) int64 {
	if n, ok := bodyLimits[a.Name]; ok {
		return n
	}
	return usualBody
}

package main

// What the models leave out. S3's models do not say its XML namespace nor the names of
// its root elements; both are in the examples of the S3 API Reference, and clients with
// strict decoders insist on them.

var namespaces = map[string]string{
	"s3": "http://s3.amazonaws.com/doc/2006-03-01/",
}

// open are the enumerations of a model that are not closed here: any region name is accepted.
var open = map[string][]string{
	"s3": {"BucketLocationConstraint"},
}

var roots = map[string]map[string]string{
	"s3": {
		"CompleteMultipartUpload": "CompleteMultipartUploadResult",
		"CreateMultipartUpload":   "InitiateMultipartUploadResult",
		"DeleteObjects":           "DeleteResult",
		"GetBucketLocation":       "LocationConstraint",
		"ListBuckets":             "ListAllMyBucketsResult",
		"ListMultipartUploads":    "ListMultipartUploadsResult",
		"ListObjectVersions":      "ListVersionsResult",
		"ListObjects":             "ListBucketResult",
		"ListObjectsV2":           "ListBucketResult",
		"ListParts":               "ListPartsResult",
	},
}

package firehose

//go:generate go run ../awsgen -service firehose

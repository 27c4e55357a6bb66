package kinesis

//go:generate go run ../awsgen -service kinesis

package s3

//go:generate go run ../awsgen -service s3

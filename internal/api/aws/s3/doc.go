// Package s3 is the S3 view of the objects.
package s3

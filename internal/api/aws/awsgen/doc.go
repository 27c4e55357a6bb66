// Command awsgen writes shapes_gen.go of an AWS front from the public API model of its
// service and the list of operations in ops.txt.
//
// Run it by go generate in the front's directory:
//
//	//go:generate go run ../awsgen -service kinesis
//
// The models are those of an installed botocore, of exactly the version in the file
// BOTOCORE beside this one; they are read at generation time and are not committed.
// Install it with pip install botocore==$(cat BOTOCORE), or point -models at the data
// directory of an unpacked one. Another version is refused, because the result must not
// depend on the machine that generated it.
//
// What is written: the shapes the operations reach, with awswire's struct tags; the
// interface Operations, so that a front that lacks one does not compile; Service, which binds an
// implementation to the wire; and Client, which calls the same operations over it. No
// documentation text is taken from the models. To raise the version: change BOTOCORE, run
// go generate, and read the difference.
package main

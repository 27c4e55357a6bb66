package main

import (
	"context"

	"sluice.dev/sluice/bench/rig"
	"sluice.dev/sluice/internal/api/aws/awswire"
)

// node is a running program with a client for its AWS calls.
type node struct {
	*rig.Node
	aws *awswire.Client
}

func startNode(ctx context.Context, o options, data string) (*node, error) {
	n, err := rig.Start(ctx, rig.Config{Program: o.program, Data: data})
	if err != nil {
		return nil, err
	}
	return &node{n, &awswire.Client{Endpoint: n.URLs.AWS, Region: n.Key.Region, AccessKeyID: n.Key.ID, Secret: n.Key.Secret}}, nil
}

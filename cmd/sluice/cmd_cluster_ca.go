package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sluice.dev/sluice/internal/base/keystore/ca"
)

func clusterCACommand() *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:   "ca",
		Short: "Make and rotate the certificates that nodes prove themselves with",
		Long: `Make and rotate the certificates that nodes prove themselves with (cluster.tls). The
authority is kept in a directory of yours, which need not, and should not, be on a node.

To replace the authority of a cluster that runs, without downtime:
  1. sluice cluster ca rotate --dir D          makes a new one; D/NODE/ca.pem now has both
  2. copy D/NODE/ca.pem to every node
  3. sluice cluster ca issue --dir D --node NODE --address ...   for each node, and
     copy D/NODE/cert.pem and D/NODE/key.pem to it
  4. sluice cluster ca rotate --dir D --finish
  5. copy D/NODE/ca.pem to every node: the old authority is not trusted any more
Nodes read the files again by themselves within seconds; connections that are open stay.`,
	}
	c.PersistentFlags().StringVar(&dir, "dir", "", "the authority's directory")
	_ = c.MarkPersistentFlagRequired("dir") // the flag exists

	c.AddCommand(&cobra.Command{
		Use:   "init",
		Short: "Make an authority",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := ca.Init(dir, time.Now()); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "made the authority %s/authority.pem: keep it, and keep it secret\n", dir)
			return err
		},
	})

	var node string
	var addresses []string
	var days int
	issue := &cobra.Command{
		Use:   "issue",
		Short: "Give a node a certificate",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := ca.Open(dir)
			if err != nil {
				return err
			}
			at, err := a.Issue(node, addresses, time.Now(), time.Duration(days)*24*time.Hour)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "wrote %[1]s/cert.pem, %[1]s/key.pem and %[1]s/ca.pem: the node's cluster.cert, cluster.key and cluster.ca\n", at)
			return err
		},
	}
	issue.Flags().StringVar(&node, "node", "", "the node's name")
	issue.Flags().StringSliceVar(&addresses, "address", nil, "a host name or IP address of the node; may be repeated")
	issue.Flags().IntVar(&days, "days", int(ca.Validity/(24*time.Hour)), "how long the certificate holds")
	_ = issue.MarkFlagRequired("node")    // the flags exist
	_ = issue.MarkFlagRequired("address") //
	c.AddCommand(issue)

	var finish bool
	rotate := &cobra.Command{
		Use:   "rotate",
		Short: "Begin to replace the authority, or finish it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := ca.Open(dir)
			if err != nil {
				return err
			}
			said := "made a new authority: copy ca.pem to every node, then issue their certificates anew, then rotate --finish\n"
			if finish {
				said = "the old authority is dropped: copy ca.pem to every node\n"
				err = a.Finish(time.Now())
			} else {
				err = a.Begin(time.Now())
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), said)
			return err
		},
	}
	rotate.Flags().BoolVar(&finish, "finish", false, "drop the old authority")
	c.AddCommand(rotate)
	return c
}

package mesh

import "net"

// Shake says hello on a connection that somebody has made to the node.
func (m *Mesh) Shake(conn net.Conn) error {
	_, refusal, err := m.shake(conn, false)
	if err == nil {
		err = refusal
	}
	return err
}

// Serve takes what a peer sends after the handshake, until the connection ends.
func (m *Mesh) Serve(conn net.Conn, peer string) error {
	return m.serve(conn, false, &hello{Node: peer, Session: peer})
}

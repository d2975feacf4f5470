"""What `gradcli find-lr` shows: the rehearsals as they go, and the rate that they propose."""

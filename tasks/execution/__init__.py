"""tasks/execution"""
